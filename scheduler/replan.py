"""When a new plan replaces the one in force: not for every change of traffic, but for one that lasts and gains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler.allocator import allocate, reassess
from corelane.scheduler.demand import Demand
from corelane.scheduler.plan import Plan, Settings
from corelane.scheduler.topology import Host

HOLD_S = 10.0
GAIN_MIN = 0.2
_WORST_MS = 60_000.0  # of a version that cannot keep up


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The plan in force, and since when a better one has been known; None if there is none."""

    plan: Plan
    better_since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`reason` is why cores change hands; empty if they do not."""

    standing: Standing
    reason: str = ""


def consider(
    standing: Standing | None, host: Host, demands: Sequence[Demand], settings: Settings, now_s: float
) -> Decision:
    """Plans anew. Versions that came or went change the plan at once. Otherwise it changes when, for HOLD_S, another
    meets an SLO more, or would cut the versions' p99 by GAIN_MIN in all (the sum of the logarithms of their ratios)."""
    if standing is None:
        plan = allocate(host, demands, settings)
        return Decision(standing=Standing(plan=plan), reason="the first plan")
    new = allocate(host, demands, settings, last=standing.plan)
    reason = _population(standing.plan, demands)
    if reason:
        return Decision(standing=Standing(plan=new), reason=reason)
    present = reassess(standing.plan, host, demands, settings)
    if _cores(new) == _cores(present):
        return Decision(standing=Standing(plan=present))
    gain = _gain(present, new)
    if not gain:
        return Decision(standing=Standing(plan=present))
    since = standing.better_since_s if standing.better_since_s is not None else now_s
    if now_s - since < HOLD_S:
        return Decision(standing=Standing(plan=present, better_since_s=since))
    return Decision(standing=Standing(plan=new), reason=gain)


def _population(plan: Plan, demands: Sequence[Demand]) -> str:
    """What came, went or changed its role."""
    old = {version.name: _kind(version.demand) for version in plan.versions}
    new = {demand.name: _kind(demand) for demand in demands}
    parts = [f"{name} came" for name in sorted(new.keys() - old.keys())]
    parts += [f"{name} went" for name in sorted(old.keys() - new.keys())]
    parts += [f"{name} changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return ", ".join(parts)


def _kind(demand: Demand) -> tuple[object, ...]:
    return demand.role, demand.sessions, demand.threads, demand.slo_p99_ms


def _cores(plan: Plan) -> dict[str, tuple[int, ...]]:
    own = {version.name: version.cpus for version in plan.versions}
    return {**own, "reserve": plan.reserve, "pool": plan.pool}


def _gain(old: Plan, new: Plan) -> str:
    """What speaks for the new plan; empty if that is too little."""
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
