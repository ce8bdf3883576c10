"""Allocates a host's cores: dedicated ones for baselines, a pool for A/B versions, a reserve for gateways.

Cores are dealt out one by one. Each goes to the first of these: a baseline that cannot keep up, a baseline that misses
its SLO, the pool if it cannot keep up, the pool if it misses an SLO, the owner whose predicted p99 falls most. The
order does not depend on the number of cores, so a larger host never makes a prediction worse. `placement` then chooses
which cores.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace

from corelane.scheduler import gateways
from corelane.scheduler.allocation import CoreAllocation, Settings, VersionAllocation
from corelane.scheduler.demand import Demand
from corelane.scheduler.numbers import amount, figure
from corelane.scheduler.placement import RESERVE, place
from corelane.scheduler.pool import SharedPool
from corelane.scheduler.queueing import Prediction, predict
from corelane.scheduler.topology import Core, Host, core_list

# Two hardware threads of a core make about 1.25 of one that has the core to itself, so each is this much slower.
SMT_SLOWDOWN = 1.6
_SHORT_MAX = 4096
_ENOUGH = 6.0  # the turn of an owner whose sessions cannot use more cores
_GAIN_MIN = 0.005  # the share of p99 by which a spare core must lower it
_POOL = "pool"
_RESERVE_FROM = 4  # cores; a smaller host reserves none


def allocate(
    host: Host, demands: Sequence[Demand], settings: Settings | None = None, last: CoreAllocation | None = None
) -> CoreAllocation:
    """The allocation for `demands` on `host`. The same input gives the same allocation; owners keep the cores that they
    have in `last`.

    Every baseline has a core of its own, and the A/B versions share at least one. On a smaller host all versions share
    all cores, and `problems` says so."""
    settings = settings or Settings()
    demands = sorted(demands, key=lambda demand: (demand.model, demand.version))
    units = _usable(host)
    width = max(len(core.cpus) for core in units) if settings.smt == "together" else 1
    slowdown = SMT_SLOWDOWN if width > 1 else 1.0
    groups: list[_Own | _Pool] = [_Own(d, width, slowdown) for d in demands if d.role == "baseline"]
    sharing = [demand for demand in demands if demand.role != "baseline"]
    if sharing:
        groups.append(_Pool(sharing, width, slowdown))

    needed = sum(group.least for group in groups)
    reserved = min(_reserved(units, settings), max(0, len(units) - needed))
    if needed > len(units):
        return _all_share(units, SharedPool(demands, slowdown), settings, needed)
    _deal(groups, len(units) - reserved)
    owned = place(units, reserved, {group.name: group.units for group in groups}, _POOL, last)
    return _allocation(groups, owned, settings)


def reassess(
    allocation: CoreAllocation, host: Host, demands: Sequence[Demand], settings: Settings | None = None
) -> CoreAllocation:
    """The same cores for the same versions, with predictions for other demands."""
    settings = settings or Settings()
    by_name = {demand.name: demand for demand in demands}
    demands = [by_name[version.name] for version in allocation.versions]
    units = _usable(host)
    width = max(len(core.cpus) for core in units) if settings.smt == "together" else 1
    slowdown = SMT_SLOWDOWN if width > 1 else 1.0
    if all(version.shares for version in allocation.versions) and allocation.problems:
        shared = SharedPool(demands, slowdown)
        return replace(allocation, versions=tuple(_pool_allocations(shared, allocation.pool)))
    owned = {RESERVE: _owners(units, allocation.reserve), _POOL: _owners(units, allocation.pool)}
    groups: list[_Own | _Pool] = []
    for version, demand in zip(allocation.versions, demands, strict=True):
        if not version.shares:
            groups.append(_Own(demand, width, slowdown))
            owned[demand.name] = _owners(units, version.cpus)
    sharing = [demand for version, demand in zip(allocation.versions, demands, strict=True) if version.shares]
    if sharing:
        groups.append(_Pool(sharing, width, slowdown))
    for group in groups:
        group.units = len(owned[group.name])
    return _allocation(groups, owned, settings)


def _owners(units: Sequence[Core], cpus: Sequence[int]) -> list[Core]:
    return [unit for unit in units if set(cpus).intersection(unit.cpus)]


def _usable(host: Host) -> list[Core]:
    """The cores that the quota leaves, fast ones first."""
    usable: list[Core] = []
    left = host.cores
    for core in sorted(host.physical, key=lambda core: (core.kind == "efficiency", core.socket, core.node, core.cache)):
        cpus = core.cpus[:left]
        left -= len(cpus)
        if cpus:
            usable.append(replace(core, cpus=cpus))
    return usable


def _reserved(units: Sequence[Core], settings: Settings) -> int:
    """The number of reserved cores. By default one in eight and at least one on hosts of four cores or more; as many as
    the gateways keep busy if that is more, but at most half of all."""
    widest = max(len(core.cpus) for core in units)
    if settings.reserved_cores is not None:
        return min(len(units), math.ceil(settings.reserved_cores / widest))
    if len(units) < _RESERVE_FROM:
        return 0
    busy = math.ceil(settings.gateway_load / widest / gateways.UTILISATION_MAX)
    return min(len(units) // 2, max(1, len(units) // 8, busy))


class _Own:
    """A baseline while cores are dealt out. `units` counts the cores that it has so far."""

    def __init__(self, demand: Demand, width: int, slowdown: float) -> None:
        self.demand = demand
        self.name = demand.name
        self.units = 0
        self._width = width
        self._service = demand.service.scaled(slowdown)
        self._predicted: dict[int, Prediction] = {}
        self.least = max(1, math.ceil(demand.threads / width))
        self.most = math.inf if demand.sessions is None else math.ceil(demand.sessions * demand.threads / width)
        slo = demand.slo_p99_ms
        self.can_meet_slo = slo is None or predict(0.0, self._service, 1).p99_ms <= slo

    def sessions(self, units: int) -> int:
        most = max(1, units * self._width // self.demand.threads)
        return most if self.demand.sessions is None else min(most, self.demand.sessions)

    def predict(self, units: int) -> Prediction:
        sessions = self.sessions(units)
        if sessions not in self._predicted:
            self._predicted[sessions] = predict(self.demand.rate_per_s / 1000, self._service, sessions)
        return self._predicted[sessions]

    def turn(self) -> tuple[float, ...]:
        """The sort key for the next core: the smallest gets it."""
        if self.units >= self.most:
            return _ENOUGH, 0.0
        now, after = self.predict(self.units), self.predict(self.units + 1)
        if not now.stable:
            return 0.0, -now.utilisation
        slo = self.demand.slo_p99_ms
        if slo is not None and now.p99_ms > slo and self.can_meet_slo:
            return 1.0, -now.p99_ms / slo
        return _spare_turn(now, after, self.units)

    def cores_short(self) -> int | None:
        """The cores missing to meet the SLO; None if no number is enough."""
        slo = self.demand.slo_p99_ms
        if slo is None or self.predict(self.units).p99_ms <= slo:
            return 0
        if not self.can_meet_slo or self.demand.sessions is not None:
            return None
        low, high = self.units, max(self.units * 2, math.ceil(self.demand.load * 2) + 2)
        while self.predict(high).p99_ms > slo:
            low, high = high, high * 2
            if high > _SHORT_MAX:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.predict(middle).p99_ms <= slo else (middle, high)
        return (high - self.units) * self._width


class _Pool:
    """The A/B versions, which get cores together."""

    name = _POOL
    least = 1

    def __init__(self, demands: Sequence[Demand], width: int, slowdown: float) -> None:
        self.units = 0
        self.shared = SharedPool(demands, slowdown)
        self._width = width
        self._slack_ms = self.shared.slack_ms()

    def predict(self, units: int) -> Prediction:
        return self.shared.predict_all(max(1, units * self._width))

    def turn(self) -> tuple[float, ...]:
        now, after = self.predict(self.units), self.predict(self.units + 1)
        if not now.stable:
            return 2.0, -now.utilisation
        wait_ms = self.shared.wait_p99_ms(self.units * self._width)
        if wait_ms > self._slack_ms:
            return 3.0, -wait_ms / self._slack_ms
        return _spare_turn(now, after, self.units)


def _spare_turn(now: Prediction, after: Prediction, units: int) -> tuple[float, ...]:
    """The owner whose p99 falls most comes first. If no p99 falls, the owner with the fewest cores does: before traffic
    is known, the split is even."""
    gain = 1 - after.p99_ms / now.p99_ms if now.p99_ms > 0 else 0.0
    return (4.0, -gain) if gain > _GAIN_MIN else (5.0, units)


def _deal(groups: Sequence[_Own | _Pool], units: int) -> None:
    for group in groups:
        group.units = group.least
        units -= group.least
    turns = [(group.turn(), index) for index, group in enumerate(groups)]
    heapq.heapify(turns)
    while units > 0 and turns and turns[0][0][0] < _ENOUGH:
        _, index = turns[0]
        groups[index].units += 1
        units -= 1
        heapq.heapreplace(turns, (groups[index].turn(), index))


def _allocation(groups: Sequence[_Own | _Pool], owned: dict[str, list[Core]], settings: Settings) -> CoreAllocation:
    versions: list[VersionAllocation] = []
    pool: tuple[int, ...] = ()
    pool_why = "no A/B version: there is no pool"
    for group in groups:
        cpus = _threads(owned[group.name], settings)
        if isinstance(group, _Own):
            versions.append(_own_allocation(group, cpus))
        else:
            pool = cpus
            busy, count = group.shared.load / len(pool), len(group.shared.demands)
            asks = "asks" if count == 1 else "ask"
            pool_why = f"{core_list(pool)} for {_count(count, 'A/B version')}, which {asks} for {busy:.0%} of it"
            versions.extend(_pool_allocations(group.shared, pool))
    reserve = _threads(owned[RESERVE], Settings())
    return CoreAllocation(
        reserve=reserve,
        pool=pool,
        versions=tuple(sorted(versions, key=lambda version: (version.demand.model, version.demand.version))),
        problems=_problems(versions),
        reserve_why=_reserve_why(reserve, settings, pool),
        pool_why=pool_why,
    )


def _threads(cores: Sequence[Core], settings: Settings) -> tuple[int, ...]:
    """The hardware threads that run sessions: all siblings, or the first of each core."""
    return tuple(sorted(cpu for core in cores for cpu in (core.cpus if settings.smt == "together" else core.cpus[:1])))


def _own_allocation(group: _Own, cpus: tuple[int, ...]) -> VersionAllocation:
    demand, prediction = group.demand, group.predict(group.units)
    threads = demand.threads
    sessions = demand.sessions or max(1, len(cpus) // threads)
    short = group.cores_short()
    why = f"{_count(len(cpus), 'core')} of its own ({core_list(cpus)})"
    if demand.sessions is not None:
        why += f": the manifest says {_count(demand.sessions, 'session')}"
    elif group.units == 1 and prediction.stable and prediction.utilisation < 0.5:
        why += f": one core carries {_load(demand)}"
    else:
        why += f" for {_load(demand)}"
    if prediction.stable:
        why += f"; predicted p99 {figure(prediction.p99_ms)} ms"
        if group.units > group.least:
            fewer = group.predict(group.units - 1).p99_ms
            why += f", with one core less {'it could not keep up' if math.isinf(fewer) else f'{figure(fewer)} ms'}"
    return VersionAllocation(
        demand=demand,
        shares=False,
        cpus=cpus,
        sessions=tuple(_in_turn(cpus, index * threads, threads) for index in range(sessions)),
        prediction=prediction,
        cores_short=short,
        why=why,
    )


def _in_turn(cpus: tuple[int, ...], start: int, count: int) -> tuple[int, ...]:
    """The next cores of a session; starts again at the first core if there are more sessions than cores."""
    return tuple(sorted({cpus[(start + step) % len(cpus)] for step in range(count)}))


def _pool_allocations(shared: SharedPool, pool: tuple[int, ...]) -> list[VersionAllocation]:
    allocations = []
    beginning = f"shares the pool ({core_list(pool)}) with {_count(len(shared.demands) - 1, 'other')} for "
    for index, demand in enumerate(shared.demands):
        prediction, slo = shared.predict(index, len(pool)), demand.slo_p99_ms
        cores, saturated = shared.share(index, len(pool))
        short: int | None = 0
        if slo is not None and prediction.p99_ms > slo:
            enough = shared.sessions_for(index, slo, len(pool))
            short = None if enough is None else enough - len(pool)
        why = beginning + _load(demand)
        if saturated:
            why += f"; it asks for more than its share of {_cores(cores)}, and gets that"
        sessions = demand.sessions or max(1, len(pool) // demand.threads)
        allocations.append(
            VersionAllocation(
                demand=demand,
                shares=True,
                cpus=pool,
                sessions=(pool,) * sessions,
                prediction=prediction,
                cores_short=short,
                why=why,
            )
        )
    return allocations


def _all_share(units: Sequence[Core], shared: SharedPool, settings: Settings, needed: int) -> CoreAllocation:
    cpus = _threads(units, settings)
    allocations = _pool_allocations(shared, cpus)
    baselines = sum(demand.role == "baseline" for demand in shared.demands)
    problem = (
        f"the host has {_count(len(units), 'core')} and {needed} are needed for {_count(baselines, 'baseline')} with "
        "cores of their own and the A/B versions' pool: all versions share all cores"
    )
    return CoreAllocation(
        reserve=(),
        pool=cpus,
        versions=tuple(allocations),
        problems=(problem, *_problems(allocations)),
        reserve_why=_reserve_why((), settings, ()),
        pool_why="every version is in the pool",
    )


def _problems(versions: Sequence[VersionAllocation]) -> tuple[str, ...]:
    return tuple(problem_of(version) for version in versions if not version.meets_slo or not version.prediction.stable)


def problem_of(version: VersionAllocation) -> str:
    """A sentence about a version that cannot keep up or misses its SLO."""
    demand, prediction = version.demand, version.prediction
    if not prediction.stable:
        return f"{version.name} cannot keep up: {_load(demand)} are {figure(demand.load)} cores' work"
    slo_ms = figure(demand.slo_p99_ms or 0)
    problem = f"{version.name} misses its SLO: predicted p99 {figure(prediction.p99_ms)} ms, wanted {slo_ms} ms"
    if version.cores_short is None:
        return f"{problem}; no number of cores helps, a request alone takes {figure(demand.service.points[-1][1])} ms"
    return f"{problem}; {_count(version.cores_short, 'core')} short"


def _reserve_why(reserve: tuple[int, ...], settings: Settings, pool: tuple[int, ...]) -> str:
    if not reserve:
        return f"no core is reserved: gateways run on {'the pool' if pool else 'all cores'}"
    chosen = "host.reserved_cores"
    if settings.reserved_cores is None:
        chosen = f"one core in eight at least; gateways keep {figure(settings.gateway_load)} busy"
    return f"{core_list(reserve)} for gateways and the system ({chosen})"


def _load(demand: Demand) -> str:
    return f"{amount(demand.rate_per_s)} requests/s of {figure(demand.service.mean_ms)} ms"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cores(number: float) -> str:
    return f"{figure(number)} core{'' if number == 1 else 's'}"
