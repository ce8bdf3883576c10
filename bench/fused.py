"""`python -m bench.fused`: fused plans against TensorFlow, on the same requests.

Each model is compiled (or taken from `build/bench-models/plans`), and runs in turn with the original, each in a
process of its own on one thread, from a request's bytes to its response's: TensorFlow through its C API, on the
caller's thread, with the allocator that its workers have.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import models, prepared, recom
from bench.engine_loop import EngineLoop
from bench.environment import describe, header
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import LoadError
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, NUMPY_TYPES
from corelane.terminal import table

_EXPLANATION = """\
tensorflow, fused  CPU time of a run in ms on one thread, median of {rounds} rounds in turn
ratio              tensorflow by fused, median over the rounds
dense              CPU time of what is behind the features by itself: what is left to gain is fused without it
compiled           seconds to make the plan and to compare it with the original"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """`targets` are ratios by batch size."""

    name: str
    folder: Path
    inputs: Callable[[int], dict[str, np.ndarray]]
    targets: dict[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model: str
    batch: int
    tensorflow_ms: float
    fused_ms: float
    ratio: float
    target: float
    dense_ms: float


def contestants(smoke: bool, wanted: list[str]) -> list[Contestant]:
    if smoke:
        return [_recom("recom-tiny", {1: 0.0, 8: 0.0})]
    found = []
    if not wanted or "columns" in wanted:
        folder = prepared.models("columns") / "columns/1"
        found.append(
            Contestant(name="columns", folder=folder, inputs=models.columns_inputs, targets={1: 8.0, 100: 3.5})
        )
    for name in ("wide and deep", "deepfm", "din"):
        if not wanted or name in wanted:
            folder = prepared.demo_models()[name]
            found.append(
                Contestant(
                    name=name,
                    folder=folder,
                    inputs=lambda rows: prepared.demo_clicks(rows).columns,
                    targets={1: 5.0, 100: 3.0},
                )
            )
    recoms = [name for name in ("recom-e", "recom-f") if not wanted or name in wanted]
    found += [_recom(name, {1: 15.0, 32: 10.0, 512: 4.0}) for name in recoms]
    return found


def _recom(name: str, targets: dict[int, float]) -> Contestant:
    folder = prepared.recom_model(name)
    return Contestant(name=name, folder=folder, inputs=lambda rows: recom.inputs(name, rows), targets=targets)


def measure(one: Contestant, plan: Path, rounds: int, seconds: float, folder: Path) -> list[Row]:
    dense = _dense_file(plan)
    if not dense.is_dir():
        dense = folder / f"{plan.name}-dense"
        dense.mkdir()
        for suffix in (".xml", ".bin"):
            (dense / f"dense{suffix}").symlink_to(_dense_file(plan).with_suffix(suffix).resolve())
    rows = []
    with EngineLoop(one.folder, 1) as original, EngineLoop(plan, 1) as fused, EngineLoop(dense, 1) as rest:
        for batch, target in one.targets.items():
            print(f"{one.name}, batch {batch} ...", file=sys.stderr, flush=True)
            request = _request(folder / "request", one.inputs(batch))
            dense_request = _request(folder / "dense-request", _dense_inputs(plan, batch))
            found = []
            for _ in range(rounds):
                runs = ((original, request), (fused, request), (rest, dense_request))
                found.append([loop.run(file, 1, seconds)["cpu_us"] / 1000 for loop, file in runs])
            before, after, alone = zip(*found, strict=True)
            rows.append(
                Row(
                    model=one.name,
                    batch=batch,
                    tensorflow_ms=statistics.median(before),
                    fused_ms=statistics.median(after),
                    ratio=statistics.median(a / b for a, b in zip(before, after, strict=True)),
                    target=target,
                    dense_ms=statistics.median(alone),
                )
            )
    return rows


def _request(file: Path, inputs: dict[str, np.ndarray]) -> Path:
    message = messages.PredictRequest()
    message.model_spec.signature_name = DEFAULT_SIGNATURE
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    file.write_bytes(message.SerializeToString())
    return file


def _dense_file(plan: Path) -> Path:
    """An .xml of OpenVINO's, or a SavedModel's folder."""
    signatures = json.loads((plan / "plan.json").read_text())["signatures"]
    return plan / next(one["dense"] for one in signatures if one["name"] == DEFAULT_SIGNATURE)


def _dense_inputs(plan: Path, batch: int) -> dict[str, np.ndarray]:
    import openvino

    source = np.random.default_rng(1)
    found = {}
    if (folder := _dense_file(plan)).is_dir():
        signature = load_engine("tensorflow", folder, EngineOptions()).signatures()[DEFAULT_SIGNATURE]
        for name, spec in signature.inputs.items():
            sizes = [batch if size < 0 else size for size in spec.shape or ()]
            is_text = spec.dtype == "DT_STRING"
            found[name] = (
                np.full(sizes, b"", object) if is_text else source.random(sizes).astype(NUMPY_TYPES[spec.dtype])
            )
        return found
    for port in openvino.Core().read_model(_dense_file(plan)).inputs:
        shape = [size.get_length() if size.is_static else batch for size in port.partial_shape]
        found[min(port.names)] = source.random(shape).astype(port.element_type.to_dtype())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a moment, of a tiny model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each engine, each round")
    parser.add_argument("--models", nargs="*", default=[], help="only these")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 0.2
    rows, compiled, refused = [], {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for one in contestants(options.smoke, options.models):
            try:
                plan, compiled[one.name] = prepared.plan(one.name, one.folder)
            except LoadError as error:
                refused[one.name] = str(error)
                continue
            rows += measure(one, plan, options.rounds, options.seconds, Path(temporary))
    if options.json:
        found = {"rows": [asdict(row) for row in rows], "compiled_s": compiled, "refused": refused}
        print(json.dumps({"environment": describe(), **found}, indent=2))
        return
    print(header())
    cells = [
        [
            row.model,
            row.batch,
            f"{row.tensorflow_ms:.3f}",
            f"{row.fused_ms:.3f}",
            f"{row.ratio:.1f}x",
            f"{row.target:g}x",
            f"{row.dense_ms:.3f}",
            f"{compiled[row.model]:.0f} s",
        ]
        for row in rows
    ]
    titles = ["model", "batch", "tensorflow ms", "fused ms", "ratio", "target", "dense ms", "compiled"]
    print(table(titles, cells))
    for name, why in refused.items():
        print(f"\n{name}: {why}")
    print("\n" + _EXPLANATION.format(rounds=options.rounds))


if __name__ == "__main__":
    main()
