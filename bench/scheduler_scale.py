"""`python -m bench.scheduler_scale`: the allocator on a host that isn't here, by the simulator.

40 versions on 128 cores, seeded: 12 baselines with SLOs, 28 A/B versions, at a given part of what the host can do;
then the same with some A/B versions in overload. Each way to share the cores out gets the same demand:

  corelane         this allocator: baselines their own cores, the A/B versions a fair pool
  proportional     each version its own cores, as many as its part of the load
  equal            each version its own cores, as many as any other
  no pinning       every request a thread, the kernel slices all cores among them, with the cost of switching
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from bench.environment import describe, header
from corelane.scheduler import Cost, Demand, Settings, allocate, uniform_host
from corelane.scheduler.simulator import SLICE_MS, SWITCH_MS, Outcome, Stream, simulate_sessions, simulate_slicing
from corelane.terminal import table

_CORES, _VERSIONS, _BASELINES = 128, 40, 12
_RESERVED = 16
_LARGE_CORES, _LARGE_VERSIONS = 256, 500

_EXPLANATION = """\
goodput    answers within the SLO a second (A/B versions too have one, five times as long), median of {rounds} seeds
in time    of all requests offered; baselines: of theirs
SLOs met   of {baselines} baselines, those whose p99 is within their SLO
No pinning: slices of {slice:g} ms, {switch:g} ms a switch (scheduler/simulator.py has the source).
Simulated: {seconds:g} s a cell, {requests:.1f} million requests in {took:.0f} s of this machine's time.
Planning {large} versions on {cores} cores takes {plan_ms:.0f} ms (target 100)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    load: str
    policy: str
    goodput: float
    in_time: float
    base_in_time: float
    slos_met: float


def make_demands(seed: int, load: float, overload: float) -> list[Demand]:
    """Demands that ask for `load` of the cores that are not reserved; a quarter of the A/B versions then ask for
    `overload` times as much."""
    source = random.Random(seed)
    found = []
    for number in range(_VERSIONS):
        is_baseline = number < _BASELINES
        cost = Cost(fixed_ms=math.exp(source.gauss(0.7, 0.6)), per_row_ms=source.uniform(0.01, 0.1), cv=0.2)
        batches = ((1.0, 0.6), (10.0, 0.3), (50.0, 0.1))
        weight = math.exp(source.gauss(0, 0.8)) * (4 if is_baseline else 1)
        demand = Demand(
            model=f"m{number:02}",
            version=1,
            role="baseline" if is_baseline else "ab",
            rate_per_s=weight,
            cost=cost,
            batches=batches,
        )
        slo = 4 * demand.service.points[-1][1]
        found.append(replace(demand, slo_p99_ms=slo if is_baseline else 5 * slo))
    scale = load * (_CORES - _RESERVED) / sum(demand.load for demand in found)
    found = [replace(demand, rate_per_s=demand.rate_per_s * scale) for demand in found]
    return [
        replace(demand, rate_per_s=demand.rate_per_s * overload) if number >= _BASELINES and number % 4 == 0 else demand
        for number, demand in enumerate(found)
    ]


def _stream(demand: Demand) -> Stream:
    return Stream(
        rate_per_s=demand.rate_per_s,
        service=demand.service,
        slo_ms=demand.slo_p99_ms,
        queue_capacity=256,
        queue_timeout_ms=demand.slo_p99_ms,
    )


def corelane(demands: Sequence[Demand], seconds: float, seed: int) -> list[Outcome]:
    # A pool's versions have their SLOs for the count; what the allocator sees is what manifests say, and few give an
    # A/B version one.
    seen = [demand if demand.role == "baseline" else replace(demand, slo_p99_ms=None) for demand in demands]
    plan = allocate(uniform_host(_CORES, sockets=2), seen, Settings(reserved_cores=_RESERVED))
    outcomes: dict[str, Outcome] = {}
    sharing = [demand for demand in demands if demand.role == "ab"]
    pooled = simulate_sessions([_stream(demand) for demand in sharing], len(plan.pool), seconds, seed=seed)
    outcomes |= {demand.name: outcome for demand, outcome in zip(sharing, pooled, strict=True)}
    for demand in demands:
        if demand.role == "baseline":
            found = plan.version(demand.name)
            assert found is not None
            (outcomes[demand.name],) = simulate_sessions([_stream(demand)], len(found.sessions), seconds, seed=seed)
    return [outcomes[demand.name] for demand in demands]


def _apart(demands: Sequence[Demand], cores: Sequence[int], seconds: float, seed: int) -> list[Outcome]:
    return [
        simulate_sessions([_stream(demand)], count, seconds, seed=seed)[0]
        for demand, count in zip(demands, cores, strict=True)
    ]


def proportional(demands: Sequence[Demand], seconds: float, seed: int) -> list[Outcome]:
    """Whole cores by largest remainder, one at least."""
    left = _CORES - _RESERVED - len(demands)
    total = sum(demand.load for demand in demands)
    exact = [left * demand.load / total for demand in demands]
    cores = [1 + int(share) for share in exact]
    for index in sorted(range(len(demands)), key=lambda index: int(exact[index]) - exact[index])[
        : left - sum(map(int, exact))
    ]:
        cores[index] += 1
    return _apart(demands, cores, seconds, seed)


def equal(demands: Sequence[Demand], seconds: float, seed: int) -> list[Outcome]:
    each, more = divmod(_CORES - _RESERVED, len(demands))
    return _apart(demands, [each + (index < more) for index in range(len(demands))], seconds, seed)


def no_pinning(demands: Sequence[Demand], seconds: float, seed: int) -> list[Outcome]:
    return simulate_slicing([_stream(demand) for demand in demands], _CORES - _RESERVED, seconds, seed=seed)


_POLICIES: dict[str, Callable[[Sequence[Demand], float, int], list[Outcome]]] = {
    "corelane": corelane,
    "proportional": proportional,
    "equal": equal,
    "no pinning": no_pinning,
}


def _plan_ms() -> float:
    demands = [
        replace(make_demands(seed, 0.7, 1)[number], model=f"m{seed}-{number}")
        for seed in range(_LARGE_VERSIONS // _VERSIONS + 1)
        for number in range(_VERSIONS)
    ][:_LARGE_VERSIONS]
    scale = 0.7 * _LARGE_CORES / sum(demand.load for demand in demands)
    demands = [replace(demand, rate_per_s=demand.rate_per_s * scale) for demand in demands]
    host, took = uniform_host(_LARGE_CORES, sockets=2), []
    for _ in range(5):
        began_s = time.perf_counter()
        allocate(host, demands)
        took.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a second of simulated time")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5, help="seeds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated, a cell (default %(default)s)")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 1.0
    rows: list[Row] = []
    requests, began_s = 0, time.perf_counter()
    for name, load, overload in (
        ("50 %", 0.5, 1.0),
        ("70 %", 0.7, 1.0),
        ("85 %", 0.85, 1.0),
        ("70 %, overload", 0.7, 15.0),
    ):
        found: dict[str, list[tuple[float, ...]]] = {policy: [] for policy in _POLICIES}
        for seed in range(1, options.rounds + 1):
            print(f"{name}: seed {seed} of {options.rounds} ...", file=sys.stderr, flush=True)
            demands = make_demands(seed, load, overload)
            for policy, simulate in _POLICIES.items():
                outcomes = simulate(demands, options.seconds, seed)
                requests += sum(outcome.arrived for outcome in outcomes)
                base = outcomes[:_BASELINES]
                pairs = zip(demands, base, strict=False)
                met = sum(one.p99_ms <= (demand.slo_p99_ms or 0) and one.refused == 0 for demand, one in pairs)
                in_time = sum(outcome.in_time for outcome in outcomes)
                found[policy].append(
                    (
                        in_time / options.seconds,
                        in_time / sum(outcome.arrived for outcome in outcomes),
                        sum(one.in_time for one in base) / sum(one.arrived for one in base),
                        met,
                    )
                )
        for policy, values in found.items():
            goodput, in_time, base_in_time, met = (statistics.median(column) for column in zip(*values, strict=True))
            rows.append(
                Row(load=name, policy=policy, goodput=goodput, in_time=in_time, base_in_time=base_in_time, slos_met=met)
            )
    took, plan_ms = time.perf_counter() - began_s, _plan_ms()
    if options.json:
        found_rows = [asdict(row) for row in rows]
        print(json.dumps({"environment": describe(), "plan_ms": plan_ms, "rows": found_rows}, indent=2))
        return
    print(header())
    print()
    cells = [
        [r.load, r.policy, f"{r.goodput:.0f}", f"{r.in_time:.1%}", f"{r.base_in_time:.1%}", f"{r.slos_met:g}"]
        for r in rows
    ]
    print(table(["load", "policy", "goodput", "in time", "baselines in time", "SLOs met"], cells))
    print()
    print(
        _EXPLANATION.format(
            rounds=options.rounds,
            baselines=_BASELINES,
            slice=SLICE_MS,
            switch=SWITCH_MS,
            seconds=options.seconds,
            requests=requests / 1e6,
            took=took,
            large=_LARGE_VERSIONS,
            cores=_LARGE_CORES,
            plan_ms=plan_ms,
        )
    )


if __name__ == "__main__":
    main()
