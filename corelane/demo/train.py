"""`python -m corelane.demo.train FOLDER [--short]`: trains the demo's models into FOLDER/<model>/<version>; on fewer
clicks if short.

Prints a line for each model as it is done: what it is, its AUC on held-out rows, and how long it took.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from corelane.demo.clicks import Clicks, generate

ROWS, HELD_OUT_ROWS = 40_000, 8_000
SHORT_ROWS, SHORT_HELD_OUT_ROWS = 12_000, 3_000


# What there is afterwards.
VERSIONS = ("ctr/1", "ctr/2", "ctr/3", "ctr/4", "ctr_dlrm/1", "ctr_dcn/1")


def main(folder: Path, *, short: bool) -> None:
    started_s = time.monotonic()
    rows, held_out_rows = (SHORT_ROWS, SHORT_HELD_OUT_ROWS) if short else (ROWS, HELD_OUT_ROWS)
    _say(f"generating {rows + held_out_rows} clicks")
    everything = generate(rows + held_out_rows, seed=7)
    data, held_out = everything.rows(0, rows), everything.rows(rows, rows + held_out_rows)
    _say("loading TensorFlow")
    from corelane.demo import id_models, keras_models, wide_deep

    jobs: list[tuple[str, str, Callable[[Clicks, Clicks, Path, int, int], float], int, int]] = [
        (
            "Wide & Deep, half the data",
            "ctr/1",
            lambda d, *options: wide_deep.train(d.rows(0, rows // 2), *options),
            2,
            1,
        ),
        ("Wide & Deep", "ctr/2", wide_deep.train, 3, 2),
        ("DeepFM", "ctr/3", lambda *job: keras_models.train(keras_models.DeepFM(), *job), 3, 3),
        ("DIN", "ctr/4", lambda *job: keras_models.train(keras_models.DIN(), *job), 3, 4),
        ("DLRM, ONNX", "ctr_dlrm/1", id_models.train_dlrm, 4, 5),
        ("DCN, OpenVINO IR", "ctr_dcn/1", id_models.train_dcn, 4, 6),
    ]
    for number, (title, version, train, epochs, seed) in enumerate(jobs, 1):
        job_s = time.monotonic()
        # A version appears whole: it is written beside its place and moved there.
        target, unfinished = folder / version, folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        result = train(data, held_out, unfinished, epochs, seed)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(target)
        _say(f"{number}/{len(jobs)} {version:<11} {title:<27} AUC {result:.3f}  {time.monotonic() - job_s:4.1f} s")
    _say(f"trained in {time.monotonic() - started_s:.0f} s")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), short="--short" in sys.argv[2:])
