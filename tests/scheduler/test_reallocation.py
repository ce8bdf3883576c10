"""When a new plan replaces the one in force."""

import dataclasses

from corelane.scheduler import Cost, Demand, Settings, uniform_host
from corelane.scheduler.reallocation import HOLD_S, Decision, Standing, consider

HOST = uniform_host(4)
SETTINGS = Settings(reserved_cores=1)


def demand(name: str, rate: float, role: str = "baseline", **rest: object) -> Demand:
    cost = Cost(fixed_ms=2.0, per_row_ms=0)
    return Demand(model=name, version=1, role=role, rate_per_s=rate, cost=cost, **rest)  # type: ignore[arg-type]


def decide(standing: Standing | None, *demands: Demand, at: float = 0.0) -> Decision:
    return consider(standing, HOST, demands, SETTINGS, at)


def cores(standing: Standing, name: str) -> int:
    found = standing.allocation.version(f"{name}/1")
    assert found is not None
    return len(found.cpus)


def test_versions_that_come_and_go_change_the_plan_at_once() -> None:
    first = decide(None, demand("a", 10))
    assert first.reason == "the first plan"
    assert cores(first.standing, "a") == 3
    second = decide(first.standing, demand("a", 10), demand("b", 10))
    assert second.reason == "b/1 came"
    third = decide(second.standing, demand("b", 10, "ab"))
    assert third.reason == "a/1 went, b/1 changed"


def test_a_gain_must_last() -> None:
    calm = (demand("a", 200), demand("b", 300))
    standing = decide(None, *calm).standing
    before = cores(standing, "a")
    assert (before, cores(standing, "b")) == (1, 2)
    busy = (demand("a", 900), demand("b", 10))
    for at in (0.0, HOLD_S / 2):
        decision = decide(standing, *busy, at=at)
        assert decision.reason == ""
        standing = decision.standing
        assert cores(standing, "a") == before
    # It was over for a moment: the clock starts anew.
    standing = decide(standing, *calm, at=HOLD_S * 0.9).standing
    standing = decide(standing, *busy, at=HOLD_S).standing
    assert cores(standing, "a") == before
    decision = decide(standing, *busy, at=2 * HOLD_S)
    assert "a/1" in decision.reason
    assert (cores(decision.standing, "a"), cores(decision.standing, "b")) == (2, 1)


def test_noise_changes_nothing() -> None:
    standing = decide(None, demand("a", 300), demand("b", 310)).standing
    owned = {version.name: version.cpus for version in standing.allocation.versions}
    for step in range(100):
        wobble = 1 + 0.1 * (step % 3 - 1)
        decision = decide(standing, demand("a", 300 * wobble), demand("b", 310 / wobble), at=float(step))
        assert decision.reason == ""
        standing = decision.standing
    assert {version.name: version.cpus for version in standing.allocation.versions} == owned


def test_predictions_follow_the_traffic_though_cores_stay() -> None:
    standing = decide(None, demand("a", 100), demand("b", 100)).standing
    later = decide(standing, demand("a", 110), demand("b", 100), at=1.0).standing
    (old, new) = (one.allocation.version("a/1") for one in (standing, later))
    assert old is not None
    assert new is not None
    assert new.demand.rate_per_s == 110
    assert new.prediction.utilisation > old.prediction.utilisation


def test_a_host_too_small_stays_shared() -> None:
    demands = [demand(name, 100) for name in "abcde"]
    standing = decide(None, *demands).standing
    assert all(version.shares for version in standing.allocation.versions)
    later = decide(standing, *(dataclasses.replace(one, rate_per_s=150) for one in demands), at=1.0)
    assert later.reason == ""
    assert later.standing.allocation.versions[0].demand.rate_per_s == 150
