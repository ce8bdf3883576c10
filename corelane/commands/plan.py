"""`corelane plan`."""

import argparse
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json
from corelane.commands.report import add_html, show
from processor.errors import ControlError, LoadError
from processor.knobs import cache_folder
from processor.manifest import ModelSettings, load_manifest
from processor.manifest.paths import numbered_folders
from processor.supervisor.demands import demand_of
from processor.worker.choice import chosen_before
from scheduler import Demand, Profile, Settings, allocate, uniform_host
from scheduler.report import Measured, to_report

_DESCRIPTION = """\
The core allocation that a manifest would get on a host that isn't here, from the profiles that `corelane serve` and
`corelane profile` have kept: the same report as `corelane report`, with what is predicted only.

  corelane plan manifest.yaml --cores 128 --sockets 2 --threads 2 --rate ctr=4000 --rate cvr/7=250

Without a --rate a model gets 100 requests a second. A model's rate is split over its versions by `traffic`, evenly
where the manifest has none.
"""
_RATE_PER_S = 100.0


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "plan", run, "the report for a host that isn't here", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--cores", type=int, required=True, metavar="N", help="hardware threads of the host")
    parser.add_argument("--sockets", type=int, default=1, metavar="N", help="a NUMA node each (default 1)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="hardware threads a core (default 1)")
    parser.add_argument(
        "--rate", action="append", default=[], metavar="MODEL[/VERSION]=R", help="requests a second; may be repeated"
    )
    parser.add_argument("--rows", type=int, default=1, metavar="N", help="rows of a request (default 1)")
    add_json(parser)
    add_html(parser)


def run(options: argparse.Namespace) -> int:
    manifest = load_manifest(options.manifest)
    try:
        host = uniform_host(options.cores, sockets=options.sockets, threads=options.threads)
    except ValueError as error:
        raise ControlError(str(error)) from error
    rates = _rates(options.rate)
    demands: list[Demand] = []
    precisions: dict[str, str] = {}
    for model in manifest.models:
        for demand, profile in _demands(model, rates, options.rows):
            demands.append(demand)
            precisions[demand.name] = profile.precision
    known = {demand.name for demand in demands} | {model.name for model in manifest.models}
    if unknown := sorted(rates.keys() - known):
        raise ControlError(f"--rate {unknown[0]}: the manifest serves no such model or version")
    plan = allocate(host, demands, Settings(reserved_cores=manifest.host.reserved_cores, smt=manifest.host.smt))
    show(to_report(host, plan, {name: Measured(precision=found) for name, found in precisions.items()}), options)
    return 0


def _rates(options: list[str]) -> dict[str, float]:
    rates = {}
    for text in options:
        name, _, rate = text.rpartition("=")
        try:
            rates[name] = float(rate)
        except ValueError:
            rates[name] = -1.0
        if not name or not 0 <= rates[name] < float("inf"):
            raise ControlError(f"--rate should be MODEL=R or MODEL/VERSION=R with R requests a second, not {text!r}")
    return rates


def _demands(model: ModelSettings, rates: Mapping[str, float], rows: int) -> list[tuple[Demand, Profile]]:
    folders = _folders(model)
    settings = [model.settings_of(version) for version in folders]
    shares = [entry.traffic or 0.0 for entry in settings]
    if sum(shares) == 0:
        shares = [1.0] * len(shares)
    total = rates.get(model.name, _RATE_PER_S)
    found = []
    for entry, share, folder in zip(settings, shares, folders.values(), strict=True):
        profile = _saved_profile(model, folder)
        rate = rates.get(f"{model.name}/{entry.version}", total * share / sum(shares))
        demand = replace(demand_of(model, entry.version, profile, rate), batches=((float(rows), 1.0),))
        found.append((demand, profile))
    return found


def _folders(model: ModelSettings) -> dict[int, Path]:
    """The version folders that the manifest would serve."""
    there = numbered_folders(model.path)[0] if model.path.is_dir() else {}
    if model.versions.kind == "listed":
        wanted = [entry.version for entry in model.versions.listed]
    elif model.versions.kind == "latest":
        wanted = sorted(there)[-model.versions.latest :]
    else:
        wanted = sorted(there)
    missing = [version for version in wanted if version not in there]
    if missing or not wanted:
        raise LoadError(f"{model.path}/{missing[0] if missing else '*'} is not there: nothing to plan for {model.name}")
    return {version: there[version].resolve() for version in wanted}


def _saved_profile(model: ModelSettings, folder: Path) -> Profile:
    from processor.worker import profiling

    engine, loaded = chosen_before(folder, model.engine, cache_folder(), model.op_libraries, model.saved_model_tags)
    wanted = ["bf16", "fp32"] if model.precision == "auto" else [model.precision]
    path = profiling.path_of(cache_folder(), engine, loaded, model.threads_per_session)
    with contextlib.closing(profiling.ProfileFile.open_to_read(path)) as kept:
        for precision in wanted:
            if (found := kept.read(precision)) is not None:
                return found
    raise LoadError(
        f"{folder} was never profiled on this machine: run `corelane profile {folder}"
        + (f" --threads {model.threads_per_session}`" if model.threads_per_session > 1 else "`")
    )
