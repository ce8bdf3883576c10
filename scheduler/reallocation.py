"""Decides when a new core allocation replaces the one in force: when it gains enough for long enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler.allocation import CoreAllocation, Settings
from corelane.scheduler.allocator import allocate, reassess
from corelane.scheduler.demand import Demand
from corelane.scheduler.topology import Host

HOLD_S = 10.0
GAIN_MIN = 0.2
_WORST_MS = 60_000.0  # the p99 of a version that cannot keep up


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The allocation in force. `better_since_s` is when a better one was first known; None if there is none."""

    allocation: CoreAllocation
    better_since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`reason` says why cores change owners; empty if they do not."""

    standing: Standing
    reason: str = ""


def consider(
    standing: Standing | None, host: Host, demands: Sequence[Demand], settings: Settings, now_s: float
) -> Decision:
    """Allocates again. A version that came or went changes the allocation at once. Otherwise a new allocation must be
    better for HOLD_S: it meets one more SLO, or it lowers the versions' p99 by GAIN_MIN in all (the sum of the
    logarithms of their ratios)."""
    if standing is None:
        allocation = allocate(host, demands, settings)
        return Decision(standing=Standing(allocation=allocation), reason="the first plan")
    new = allocate(host, demands, settings, last=standing.allocation)
    reason = _population(standing.allocation, demands)
    if reason:
        return Decision(standing=Standing(allocation=new), reason=reason)
    present = reassess(standing.allocation, host, demands, settings)
    if _cores(new) == _cores(present):
        return Decision(standing=Standing(allocation=present))
    gain = _gain(present, new)
    if not gain:
        return Decision(standing=Standing(allocation=present))
    since = standing.better_since_s if standing.better_since_s is not None else now_s
    if now_s - since < HOLD_S:
        return Decision(standing=Standing(allocation=present, better_since_s=since))
    return Decision(standing=Standing(allocation=new), reason=gain)


def _population(allocation: CoreAllocation, demands: Sequence[Demand]) -> str:
    """The versions that came, went or changed their role, in words."""
    old = {version.name: _kind(version.demand) for version in allocation.versions}
    new = {demand.name: _kind(demand) for demand in demands}
    parts = [f"{name} came" for name in sorted(new.keys() - old.keys())]
    parts += [f"{name} went" for name in sorted(old.keys() - new.keys())]
    parts += [f"{name} changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return ", ".join(parts)


def _kind(demand: Demand) -> tuple[object, ...]:
    return demand.role, demand.sessions, demand.threads, demand.slo_p99_ms


def _cores(allocation: CoreAllocation) -> dict[str, tuple[int, ...]]:
    own = {version.name: version.cpus for version in allocation.versions}
    return {**own, "reserve": allocation.reserve, "pool": allocation.pool}


def _gain(old: CoreAllocation, new: CoreAllocation) -> str:
    """The gain of the new allocation in words; empty if it is too small."""
    missed = {version.name for version in old.versions if not version.meets_slo or not version.prediction.stable}
    still = {version.name for version in new.versions if not version.meets_slo or not version.prediction.stable}
    if len(still) < len(missed):
        return f"{', '.join(sorted(missed - still))} can be met"
    if len(still) > len(missed):
        return ""
    gains = {}
    for before, after in zip(old.versions, new.versions, strict=True):
        ratio = min(before.prediction.p99_ms, _WORST_MS) / max(min(after.prediction.p99_ms, _WORST_MS), 1e-6)
        gains[before.name] = math.log(max(ratio, 1e-6)) if before.demand.rate_per_s > 0 else 0.0
    if sum(gains.values()) < GAIN_MIN:
        return ""
    name = max(gains, key=lambda name: gains[name])
    return f"predicted p99 of {name} falls by {1 - math.exp(-gains[name]):.0%}"
