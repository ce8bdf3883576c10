"""Forecasts the latency that clients would see on a host: gateways, channels, and the core allocation's predictions.

A call passes a gateway and a channel, waits in its version's queue, and runs. The network and the client's own time are
not included. Stages count as independent. Cores are allocated as on a server, by queue and run alone; SLOs are judged
by the latency that clients see.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from corelane.scheduler.allocation import CoreAllocation, Settings, VersionAllocation
from corelane.scheduler.allocator import SMT_SLOWDOWN, allocate, problem_of, reassess
from corelane.scheduler.demand import Demand
from corelane.scheduler.gateways import CALL_MS, CHANNEL_MS, GatewayForecast, gateway_processes
from corelane.scheduler.numbers import figure
from corelane.scheduler.queueing import Prediction, predict
from corelane.scheduler.topology import Host

CORES_MAX = 4096
_EACH_UP_TO = 4  # the search tries hosts one by one up to this many steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Settings of a forecast besides host and demands. `gateways` and `reserved_cores` are the manifest's, None for
    auto; `call_ms` is the CPU time of a call in a gateway."""

    gateways: int | None = None
    reserved_cores: int | None = None
    smt: str = "together"
    call_ms: float = CALL_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`clients` has the prediction for clients, by version."""

    host: Host
    allocation: CoreAllocation
    gateways: GatewayForecast
    clients: Mapping[str, Prediction]
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every version keeps up and meets its SLO."""
        return all(
            self.clients[version.name].stable and not _missed(version, self.clients[version.name])
            for version in self.allocation.versions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """`forecast` is of the smallest host that is enough; if none is, of the largest that was tried. `smaller` is of the
    next smaller host, which is not enough. `limits` says why that one, or every host, is too small."""

    is_enough: bool
    forecast: Forecast
    limits: tuple[str, ...]
    smaller: Forecast | None = None


def forecast(host: Host, demands: Sequence[Demand], circumstances: Circumstances) -> Forecast:
    rate_per_s = sum(demand.rate_per_s for demand in demands)
    call_ms = circumstances.call_ms * (SMT_SLOWDOWN if host.has_smt else 1.0)
    settings = Settings(
        reserved_cores=circumstances.reserved_cores,
        gateway_load=rate_per_s / 1000 * call_ms,
        smt="free" if circumstances.smt == "free" else "together",
    )
    allocation = allocate(host, demands, settings)
    # As the server pins them.
    cpus = allocation.reserve or allocation.pool or host.cpus[: host.cores]
    beside = [] if allocation.reserve else [item for item in allocation.versions if set(item.cpus) & set(cpus)]
    gateways = GatewayForecast(
        processes=gateway_processes(host.cores, circumstances.gateways),
        cpus=cpus,
        rate_per_s=rate_per_s,
        call_ms=call_ms,
        others_load=min(len(cpus), sum(version.demand.load for version in beside)),
    )
    slowed = _slowed(allocation, host, settings, gateways, {version.name for version in beside})
    stage = gateways.prediction
    clients = {version.name: _as_seen(stage, version.prediction) for version in slowed.versions}
    return Forecast(
        host=host,
        allocation=allocation,
        gateways=gateways,
        clients=clients,
        problems=_problems(allocation, slowed, gateways, clients),
    )


def smallest(
    host_of: Callable[[int], Host],
    step: int,
    demands: Sequence[Demand],
    circumstances: Circumstances,
    on_try: Callable[[int], None] = lambda cores: None,
) -> Search:
    """Searches the smallest host on which the forecast holds, in multiples of `step` hardware threads. It tries the
    smallest hosts one by one, because predictions get worse where a host first reserves a core; from there on it
    doubles and halves, because a larger host makes no prediction worse. It calls `on_try` with the cores of every
    host."""
    tried: dict[int, Forecast] = {}

    def holds(steps: int) -> bool:
        if steps not in tried:
            on_try(steps * step)
            tried[steps] = forecast(host_of(steps * step), demands, circumstances)
        return tried[steps].holds

    most = max(1, CORES_MAX // step)
    if impossible := _impossible(demands, circumstances, host_of(step).has_smt):
        holds(1)
        return Search(is_enough=False, forecast=tried[1], limits=impossible)
    low, high = 0, 1
    while high < min(most, _EACH_UP_TO) and not holds(high):
        low, high = high, high + 1
    while not holds(high):
        if high == most:
            return Search(is_enough=False, forecast=tried[high], limits=tried[high].problems)
        low, high = high, min(most, high * 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    smaller = tried.get(low)
    return Search(is_enough=True, forecast=tried[high], limits=smaller.problems if smaller else (), smaller=smaller)


def in_sequence(first: Prediction, second: Prediction) -> Prediction:
    """Predicts two independent stages in sequence: means add up, and so do the squared distances of quantiles from
    their means."""
    if not (first.stable and second.stable):
        return replace(second, mean_ms=math.inf, p50_ms=math.inf, p99_ms=math.inf)
    mean_ms = first.mean_ms + second.mean_ms
    return Prediction(
        utilisation=second.utilisation,
        mean_ms=mean_ms,
        p50_ms=mean_ms + _together(first.p50_ms - first.mean_ms, second.p50_ms - second.mean_ms),
        p99_ms=mean_ms + _together(first.p99_ms - first.mean_ms, second.p99_ms - second.mean_ms),
    )


def _together(first: float, second: float) -> float:
    squares = math.copysign(first * first, first) + math.copysign(second * second, second)
    return math.copysign(math.sqrt(abs(squares)), squares)


def _as_seen(gateway: Prediction, version: Prediction) -> Prediction:
    seen = in_sequence(gateway, version)
    return replace(
        seen, mean_ms=seen.mean_ms + CHANNEL_MS, p50_ms=seen.p50_ms + CHANNEL_MS, p99_ms=seen.p99_ms + CHANNEL_MS
    )


def _slowed(
    allocation: CoreAllocation, host: Host, settings: Settings, gateways: GatewayForecast, beside: set[str]
) -> CoreAllocation:
    """The same cores, with the versions `beside` the gateways slowed down by them."""
    if not beside or gateways.load <= 0:
        return allocation
    left = max(1 - gateways.load / len(gateways.cpus), 1e-6)
    demands = [
        _slower(version.demand, 1 / left) if version.name in beside else version.demand
        for version in allocation.versions
    ]
    return reassess(allocation, host, demands, settings)


def _slower(demand: Demand, factor: float) -> Demand:
    return replace(demand, observed=demand.service.scaled(factor))


def _missed(version: VersionAllocation, seen: Prediction) -> bool:
    return version.demand.slo_p99_ms is not None and seen.p99_ms > version.demand.slo_p99_ms


def _problems(
    allocation: CoreAllocation, slowed: CoreAllocation, gateways: GatewayForecast, clients: Mapping[str, Prediction]
) -> tuple[str, ...]:
    of_versions = {problem_of(version) for version in allocation.versions}
    problems = [problem for problem in allocation.problems if problem not in of_versions]
    if problem := gateways.problem():
        problems.append(problem)
    for version, slower in zip(allocation.versions, slowed.versions, strict=True):
        if not version.prediction.stable:
            problems.append(problem_of(version))
        elif not slower.prediction.stable:
            problems.append(
                f"{version.name} cannot keep up beside the gateways, which take {figure(gateways.load)} of "
                f"the {len(gateways.cpus)} cores that it shares with them"
            )
        elif _missed(version, clients[version.name]) and gateways.prediction.stable:
            problems.append(_miss(version, slower, gateways, clients[version.name]))
    return tuple(problems)


def _miss(version: VersionAllocation, slower: VersionAllocation, gateways: GatewayForecast, seen: Prediction) -> str:
    problem = (
        f"{version.name} misses its SLO: a client sees a p99 of {figure(seen.p99_ms)} ms, wanted "
        f"{figure(version.demand.slo_p99_ms or 0)} ms; alone that is {figure(slower.prediction.p99_ms)} ms in queue "
        f"and run, {figure(gateways.prediction.p99_ms)} ms in a gateway"
    )
    if version.cores_short is None:
        longest_ms = version.demand.service.points[-1][1]
        return f"{problem}; no number of cores helps, a request alone takes {figure(longest_ms)} ms"
    return (
        f"{problem}; {version.cores_short} core{'' if version.cores_short == 1 else 's'} short"
        if version.cores_short
        else problem
    )


def _impossible(demands: Sequence[Demand], circumstances: Circumstances, has_smt: bool) -> tuple[str, ...]:
    """A sentence for each SLO that a request misses even on an idle host."""
    slowdown = SMT_SLOWDOWN if has_smt else 1.0
    idle = GatewayForecast(processes=1, cpus=(0,), rate_per_s=0.0, call_ms=circumstances.call_ms * slowdown).prediction
    problems = []
    for demand in demands:
        service = demand.service.scaled(slowdown if circumstances.smt == "together" else 1.0)
        alone = _as_seen(idle, predict(0.0, service, 1))
        if demand.slo_p99_ms is not None and alone.p99_ms > demand.slo_p99_ms:
            problems.append(
                f"{demand.name}: no number of cores meets {figure(demand.slo_p99_ms)} ms; a client sees a p99 of "
                f"{figure(alone.p99_ms)} ms on an idle host"
            )
    return tuple(problems)
