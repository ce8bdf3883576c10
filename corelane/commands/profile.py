"""`corelane profile`."""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json
from corelane.processor.engines import EngineOptions
from corelane.processor.errors import LoadError
from corelane.processor.knobs import cache_folder
from corelane.processor.loading.choice import choose
from corelane.processor.loading.phases import describe
from corelane.processor.manifest import DivergenceSettings
from corelane.processor.manifest.paths import numbered_folders
from corelane.processor.wire.version_numbers import is_number
from corelane.processor.worker.allocator import worker_environment
from corelane.terminal import say, table, waiting

_DESCRIPTION = """\
Measures a model in this process: milliseconds of CPU per request by batch size, for the given threads and precision,
and the line that the scheduler fits to them. PATH is a version's folder, or a model's folder for its highest version.
The profile is kept in CORELANE_CACHE for `corelane serve` and `corelane plan`.

  corelane profile models/ctr
  corelane profile models/ctr/3 --threads 2 --precision fp32
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "profile", run, "measure the cost of a request", _DESCRIPTION)
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--engine", default="auto", choices=["auto", "tensorflow", "onnxruntime", "openvino", "fused"])
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="number of threads for one request")
    parser.add_argument("--precision", default="fp32", choices=["auto", "fp32", "bf16", "int8"])
    bound = DivergenceSettings()
    for name, default in (("relative", bound.relative), ("absolute", bound.absolute)):
        parser.add_argument(
            f"--max-divergence-{name}",
            type=float,
            default=default,
            metavar="X",
            help=f"max_divergence.{name} of the manifest, for --precision auto (default: %(default)g)",
        )
    parser.add_argument(
        "--saved-model-tags",
        default="serve",
        metavar="TAG,...",
        help="saved_model_tags of the manifest",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    if options.threads < 1:
        raise LoadError(f"--threads should be at least 1, not {options.threads}")
    given = folder = version_folder(options.path)
    tags = tuple(options.saved_model_tags.split(","))
    cache = cache_folder()
    with waiting(f"reading {folder}") as tell:
        choice = choose(
            folder,
            options.engine,
            cache,
            tags=tags,
            precision=options.precision,
            on_phase=lambda phase, signature: tell(describe(phase, signature), 0, 0),
        )
    engine_name, folder = choice.engine, Path(choice.folder)
    if engine_name == "tensorflow":
        _take_the_workers_allocator()
    from corelane.processor.loading.precision import load_in_precision
    from corelane.processor.loading.profiling import ProfileFile, profile

    with waiting(f"loading {folder}") as tell:
        engine, precision = load_in_precision(
            engine_name,
            folder,
            EngineOptions(
                threads_per_session=options.threads,
                precision=options.precision,
                saved_model_tags=tags,
                tables=choice.tables,
            ),
            DivergenceSettings(relative=options.max_divergence_relative, absolute=options.max_divergence_absolute),
            1 << 30,
            on_phase=lambda phase, signature: tell(describe(phase, signature), 0, 0),
        )
        with contextlib.closing(ProfileFile.open(cache, engine_name, folder, options.threads)) as file:
            measured = profile(engine, folder, precision.name, options.threads, file, on_step=tell)
    cost = measured.cost
    if cost is None:
        raise LoadError("the model takes no request that can be made up; add assets.extra/tf_serving_warmup_requests")
    if options.json:
        fitted = {"fixed_ms": cost.fixed_ms, "per_row_ms": cost.per_row_ms, "cv": cost.cv, "fit_error": cost.fit_error}
        say(json.dumps({**measured.to_json(), "precision_why": precision.why, "cost": fitted}, indent=2))
        return 0
    say(f"{given}: {engine_name}, {precision.name} ({precision.why}), {options.threads} thread(s)\n")
    rows = [[rows, f"{ms:.3f}", f"{cv:.0%}", f"{cost.ms(rows):.3f}"] for rows, ms, cv in measured.points]
    say(table(["rows", "ms", "spread", "fitted ms"], rows))
    say(f"\n{cost.fixed_ms:.3f} ms a request and {cost.per_row_ms:.4f} ms a row, within {cost.fit_error:.0%}")
    return 0


def version_folder(path: Path) -> Path:
    """A version's folder, or the highest of a model's. LoadError if there is none."""
    if not path.is_dir():
        raise LoadError(f"{path} is no folder")
    numbered, _ = numbered_folders(path)
    if is_number(path.name) or not numbered:
        return path.resolve()
    return numbered[max(numbered)].resolve()


def _take_the_workers_allocator() -> None:
    """Starts over with the allocator that TensorFlow's workers have, if it is there."""
    environment = worker_environment()
    if environment.get("LD_PRELOAD") != os.environ.get("LD_PRELOAD"):
        os.execve(sys.executable, [sys.executable, "-P", "-m", "corelane", *sys.argv[1:]], environment)
