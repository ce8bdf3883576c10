"""`corelane plan`."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json, add_wide, call_admin
from corelane.commands.report import add_html, show
from corelane.planning import RATE_PER_S, Demands, Unplanned, WhatIf, amounts, demands_of
from corelane.processor.errors import ControlError
from corelane.processor.manifest import Manifest, load_manifest
from corelane.scheduler import Host, uniform_host
from corelane.scheduler.forecast import CORES_MAX, Circumstances, Forecast, Search, forecast, smallest
from corelane.scheduler.gateways import CALL_MS
from corelane.scheduler.report import Measured, forecast_report
from corelane.terminal import say

_DESCRIPTION = f"""\
Forecasts the core allocation of a manifest on another host, with its gateways and the latency that clients would see.
It uses the profiles that `corelane serve` and `corelane profile` keep.

  corelane plan manifest.yaml --cores 128 --sockets 2 --threads 2 --rate ctr=4000 --rate cvr/7=250
  corelane plan manifest.yaml --cores 32 --scale 2               with twice the rates
  corelane plan manifest.yaml --cores 32 --slo ctr=5             with a p99 objective of 5 ms
  corelane plan manifest.yaml --cores 32 --gateways 12           with host.gateways: 12
  corelane plan manifest.yaml --find-smallest --rate ctr=4000    the fewest cores that meet every SLO, and why not fewer
  corelane plan manifest.yaml --cores 32 --like 127.0.0.1:8502   with the CPU per call measured by that server

Without --rate a model gets {RATE_PER_S:g} requests a second. `traffic` splits a model's rate over its versions; without
it the split is even. A call takes {CALL_MS:g} ms of a gateway's CPU, which fits small gRPC calls; --gateway-ms or
--like sets another figure. A version without a profile is named with the remedy, and not counted.

Exits 0 if a version could be planned, 1 if none could, or if no host that --find-smallest tries is enough.
"""
_QUIET_S = 2.0
_ROWS_MAX = 1 << 24
_CALLS_MIN = 10_000  # of a running server, for its gateways' start to count for nothing


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "plan", run, "forecast the core allocation for another host", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--cores", type=int, metavar="N", help="hardware threads of the host")
    size.add_argument("--find-smallest", action="store_true", help="find the fewest cores that meet every SLO")
    parser.add_argument("--sockets", type=int, default=1, metavar="N", help="sockets, each a NUMA node (default 1)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="hardware threads per core (default 1)")
    parser.add_argument(
        "--rate", action="append", default=[], metavar="MODEL[/VERSION]=R", help="requests a second; may be repeated"
    )
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="multiply every rate by X (default 1)")
    parser.add_argument(
        "--slo", action="append", default=[], metavar="MODEL=MS", help="replace its slo_p99_ms; may be repeated"
    )
    parser.add_argument("--rows", type=int, default=1, metavar="N", help="rows per request (default 1)")
    parser.add_argument("--gateways", type=int, metavar="N", help="replace host.gateways")
    call = parser.add_mutually_exclusive_group()
    call.add_argument(
        "--gateway-ms",
        type=float,
        default=CALL_MS,
        metavar="MS",
        help="a gateway's CPU time per call (default %(default)g)",
    )
    call.add_argument(
        "--like",
        metavar="HOST:PORT",
        help="use the CPU time per call of the running server with this admin address",
    )
    add_json(parser)
    add_wide(parser)
    add_html(parser)


def run(options: argparse.Namespace) -> int:
    _check(options)
    manifest = load_manifest(options.manifest)
    what_if = WhatIf(
        rates=amounts("--rate", options.rate, "MODEL=R or MODEL/VERSION=R with R requests a second, up to 1e9"),
        scale=options.scale,
        slos=amounts("--slo", options.slo, "MODEL=MS with milliseconds above 0, up to 1e9"),
        rows=options.rows,
    )
    circumstances = Circumstances(
        gateways=options.gateways or manifest.host.gateways,
        reserved_cores=manifest.host.reserved_cores,
        smt=manifest.host.smt,
        call_ms=measured_call_ms(options.like) if options.like else options.gateway_ms,
    )
    demands = demands_of(manifest, what_if)
    if not demands.demands:
        raise ControlError("\n".join(["nothing can be planned:", *_reasons(manifest, demands)]))
    if options.find_smallest:
        return _find_smallest(demands, circumstances, options)
    _show(forecast(_host(options.cores, options), demands.demands, circumstances), demands, {}, options)
    return 0


def measured_call_ms(address: str) -> float:
    """A gateway's CPU time per call, from a running server's counters. ControlError if it has too few calls."""
    status = call_admin(address, "/v1/status")
    cpu_s = status["gateway_cpu_s"]
    assigned = [version.get("assigned") or {} for model in status["models"] for version in model["versions"]]
    # A copy for a shadow is no call of a client; its cost is part of the call that was copied.
    calls = sum(count for counts in assigned for why, count in counts.items() if why != "shadowed")
    if calls < _CALLS_MIN or cpu_s <= 0:
        raise ControlError(
            f"the server at {address} has answered {calls} calls, too few to tell what one costs its gateways; "
            f"{_CALLS_MIN} will do, or say --gateway-ms"
        )
    return float(cpu_s / calls * 1000)


def _check(options: argparse.Namespace) -> None:
    """ControlError for numbers that no host or request can have."""
    for name in ("cores", "sockets", "threads", "rows", "gateways"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ControlError(f"--{name} should be at least 1, not {value}")
    if options.cores is not None and options.cores > CORES_MAX:
        raise ControlError(f"--cores should be at most {CORES_MAX}, not {options.cores}")
    if options.sockets * options.threads > CORES_MAX:
        raise ControlError(f"--sockets times --threads should be at most {CORES_MAX}")
    if options.rows > _ROWS_MAX:
        raise ControlError(f"--rows should be at most {_ROWS_MAX}, not {options.rows}")
    for name, least, most in (("scale", 1e-6, 1e6), ("gateway_ms", 1e-6, 1e6)):
        value = getattr(options, name)
        if not least <= value <= most:
            raise ControlError(f"--{name.replace('_', '-')} should be between {least:g} and {most:g}, not {value:g}")


def _host(cores: int, options: argparse.Namespace) -> Host:
    try:
        return uniform_host(cores, sockets=options.sockets, threads=options.threads)
    except ValueError as error:
        raise ControlError(str(error)) from error


def _reasons(manifest: Manifest, demands: Demands) -> list[str]:
    if not manifest.models:
        return ["the manifest lists no models"]
    return [f"{entry.name}: {entry.why}; to mend it: {entry.mend}" for entry in demands.unplanned]


def _find_smallest(demands: Demands, circumstances: Circumstances, options: argparse.Namespace) -> int:
    step, on_try = options.sockets * options.threads, slow_search(time.monotonic)

    def search_with(circumstances: Circumstances) -> Search:
        return smallest(lambda cores: _host(cores, options), step, demands.demands, circumstances, on_try)

    search = search_with(circumstances)
    limits = [*search.limits, *_with_more_gateways(search, circumstances, search_with)]
    smallest_host = {
        "is_enough": search.is_enough,
        "cores": search.forecast.host.cores if search.is_enough else None,
        "limits": limits,
    }
    if not options.json:
        say(f"{_summary(search, limits, demands)}\n")
    _show(search.forecast, demands, {"smallest": smallest_host}, options)
    return 0 if search.is_enough else 1


def _with_more_gateways(
    search: Search, circumstances: Circumstances, search_with: Callable[[Circumstances], Search]
) -> list[str]:
    """A sentence if more gateways would make a smaller host enough."""
    short = search.smaller if search.is_enough else search.forecast
    if short is None or short.gateways.bound != "processes":
        return []
    more = search_with(dataclasses.replace(circumstances, gateways=short.gateways.cpus_needed))
    cores = more.forecast.host.cores
    if not more.is_enough or (search.is_enough and cores >= search.forecast.host.cores):
        return []
    return [f"host.gateways decides: with host.gateways: {short.gateways.cpus_needed}, {cores} cores are enough"]


def slow_search(clock_s: Callable[[], float]) -> Callable[[int], None]:
    """Prints the hosts that are tried to standard error once the search takes over two seconds."""
    begin_s = clock_s()

    def on_try(cores: int) -> None:
        if (took_s := clock_s() - begin_s) > _QUIET_S:
            say(f"trying {cores} cores, after {took_s:.0f} s", sys.stderr)

    return on_try


def _summary(search: Search, limits: Sequence[str], demands: Demands) -> str:
    goal = (
        "every SLO is met"
        if any(demand.slo_p99_ms for demand in demands.demands)
        else "everything keeps up (no SLO is set)"
    )
    cores = search.forecast.host.cores
    if search.is_enough:
        lines = [f"{cores} core{' is' if cores == 1 else 's are'} the fewest on which {goal}."]
        lines += [f"  with fewer: {limit}" for limit in limits]
    else:
        lines = [f"No host of up to {CORES_MAX} cores is one on which {goal}; below is what {cores} would give."]
        lines += [f"  {limit}" for limit in limits]
    return "\n".join(lines)


def _show(seen: Forecast, demands: Demands, more: dict[str, Any], options: argparse.Namespace) -> None:
    measured = {name: Measured(precision=precision) for name, precision in demands.precisions.items()}
    report = forecast_report(seen, measured, [_as_json(entry) for entry in demands.unplanned])
    report["problems"] += demands.notes
    show({**report, **more}, options)


def _as_json(entry: Unplanned) -> dict[str, Any]:
    return dataclasses.asdict(entry)
