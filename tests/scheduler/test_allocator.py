"""The core allocation's properties, over random hosts and demands."""

import dataclasses
import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from corelane.scheduler import Core, CoreAllocation, Cost, Demand, Host, Settings, allocate, uniform_host

costs = st.builds(Cost, fixed_ms=st.floats(0.05, 10), per_row_ms=st.floats(0, 0.5), cv=st.sampled_from([0.0, 0.1, 0.5]))
batches = st.sampled_from([((1.0, 1.0),), ((1.0, 0.7), (10.0, 0.2), (100.0, 0.1)), ((50.0, 1.0),)])


@st.composite
def demands(draw: st.DrawFn, most: int = 8) -> list[Demand]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), max_size=most, unique=True))
    return [
        Demand(
            model=name,
            version=draw(st.integers(1, 3)),
            role=draw(st.sampled_from(["baseline", "ab"])),
            rate_per_s=draw(st.one_of(st.just(0.0), st.floats(0.1, 3000))),
            cost=draw(costs),
            batches=draw(batches),
            slo_p99_ms=draw(st.one_of(st.none(), st.floats(1, 200))),
            sessions=draw(st.one_of(st.none(), st.none(), st.integers(1, 4))),
            threads=draw(st.sampled_from([1, 1, 1, 2])),
        )
        for name in names
    ]


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    """Cores in some nodes and cache groups, some with siblings, under a quota or not."""
    count = draw(st.integers(1, 24))
    group = draw(st.integers(1, 8))
    threads = draw(st.sampled_from([1, 2]))
    whole = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    physical = tuple(
        Core(
            cpus=(number, number + 100) if threads == 2 and whole[number] else (number,),
            cache=number // group * group,
            node=number // (2 * group),
            socket=number // (4 * group),
        )
        for number in range(count)
    )
    return Host(physical=physical, quota_cores=draw(st.one_of(st.none(), st.floats(0.5, 60))))


settings_ = st.builds(
    Settings,
    reserved_cores=st.one_of(st.none(), st.integers(0, 4)),
    smt=st.sampled_from(["together", "free"]),
)


def owners(plan: CoreAllocation) -> dict[str, set[int]]:
    found = {version.name: set(version.cpus) for version in plan.versions if not version.shares}
    return {**found, "reserve": set(plan.reserve), "pool": set(plan.pool)}


@given(hosts(), demands(), settings_)
def test_no_core_twice_and_none_outside_the_host(host: Host, wanted: list[Demand], chosen: Settings) -> None:
    plan = allocate(host, wanted, chosen)
    seen: set[int] = set()
    for cpus in owners(plan).values():
        assert not cpus & seen
        seen |= cpus
    assert seen <= set(host.cpus)
    assert len(seen) <= host.cores
    assert {version.name for version in plan.versions} == {demand.name for demand in wanted}
    for version in plan.versions:
        assert version.sessions
        assert all(session and set(session) <= set(version.cpus) for session in version.sessions)
        if version.demand.sessions is not None:
            assert len(version.sessions) == version.demand.sessions
        elif not version.shares:
            used = [cpu for session in version.sessions for cpu in session]
            assert len(used) == len(set(used)), "sessions of their own cores"


@given(hosts(), demands(), settings_)
def test_a_core_for_everyone_or_a_clear_infeasible(host: Host, wanted: list[Demand], chosen: Settings) -> None:
    plan = allocate(host, wanted, chosen)
    if any("all versions share all cores" in problem for problem in plan.problems):
        assert all(version.shares for version in plan.versions)
        return
    for version in plan.versions:
        assert version.cpus
        assert version.shares == (version.demand.role == "ab")
    siblings = {cpu: core for core in host.physical for cpu in core.cpus}
    for name, cpus in owners(plan).items():
        for other, others in owners(plan).items():
            if name != other:
                assert not {siblings[cpu].cpus for cpu in cpus} & {siblings[cpu].cpus for cpu in others}


@given(demands(), st.integers(1, 20), st.integers(1, 8))
def test_more_cores_are_never_worse(wanted: list[Demand], cores: int, more: int) -> None:
    few, many = (allocate(uniform_host(count), wanted) for count in (cores, cores + more))
    if any("share all cores" in problem for plan in (few, many) for problem in plan.problems):
        return
    for less in few.versions:
        then = many.version(less.name)
        assert then is not None
        assert then.prediction.p99_ms <= less.prediction.p99_ms * (1 + 1e-9)


@given(hosts(), demands(), settings_)
def test_the_same_input_gives_the_same_plan(host: Host, wanted: list[Demand], chosen: Settings) -> None:
    plan = allocate(host, wanted, chosen)
    assert plan == allocate(host, list(reversed(wanted)), chosen)
    assert plan == allocate(host, wanted, chosen, last=plan), "a plan at rest stays"


def moved(before: CoreAllocation, after: CoreAllocation) -> int:
    """Cores that changed hands."""
    old, new = owners(before), owners(after)
    return sum(len(new.get(name, set()) - cpus) for name, cpus in old.items())


@given(demands(), st.data())
def test_a_small_change_of_demand_moves_few_cores(wanted: list[Demand], data: st.DataObject) -> None:
    if not wanted:
        return
    host = uniform_host(32, sockets=2)
    before = allocate(host, wanted)
    index = data.draw(st.integers(0, len(wanted) - 1))
    changed = [
        dataclasses.replace(demand, rate_per_s=demand.rate_per_s * 1.1) if number == index else demand
        for number, demand in enumerate(wanted)
    ]
    after = allocate(host, changed, last=before)
    sizes = [abs(len(owners(after)[name]) - len(cpus)) for name, cpus in owners(before).items()]
    assert moved(before, after) <= sum(sizes), "only what changes size moves"


def one(name: str, role: str = "baseline", rate: float = 100, ms: float = 2.0, **rest: object) -> Demand:
    return Demand(model=name, version=1, role=role, rate_per_s=rate, cost=Cost(fixed_ms=ms, per_row_ms=0), **rest)  # type: ignore[arg-type]


def plan_of(cores: int | Host, *wanted: Demand, last: CoreAllocation | None = None) -> CoreAllocation:
    return allocate(uniform_host(cores) if isinstance(cores, int) else cores, wanted, last=last)


def sizes(plan: CoreAllocation) -> dict[str, int]:
    return {name: len(cpus) for name, cpus in owners(plan).items() if cpus}


def test_two_cores() -> None:
    plan = plan_of(2, one("base", slo_p99_ms=20), one("trial", "ab"))
    assert owners(plan) == {"base/1": {0}, "pool": {1}, "reserve": set()}
    assert plan.problems == ()


def test_the_slo_decides_before_comfort() -> None:
    """The strict one gets cores until it meets its SLO; only then do spare cores go to others."""
    strict = one("strict", rate=900, ms=2.0, slo_p99_ms=4.0)
    plan = plan_of(6, strict, one("other", rate=300, ms=2.0))
    found = plan.version("strict/1")
    assert found is not None
    assert found.meets_slo
    assert len(found.cpus) > len(plan.version("other/1").cpus)  # type: ignore[union-attr]


def test_an_slo_out_of_reach_says_how_many_cores_are_short() -> None:
    plan = plan_of(3, one("base", rate=2500, ms=2.0, slo_p99_ms=8.0), one("trial", "ab", rate=10))
    found = plan.version("base/1")
    assert found is not None
    assert not found.meets_slo
    assert found.cores_short is not None
    enough = plan_of(8, one("base", rate=2500, ms=2.0, slo_p99_ms=8.0), one("trial", "ab", rate=10)).version("base/1")
    assert enough is not None
    assert enough.meets_slo
    assert found.cores_short + len(found.cpus) <= len(enough.cpus)
    (problem,) = plan.problems
    assert problem.startswith("base/1 cannot keep up: 2500 requests/s of 2 ms are 5 cores' work")


def test_an_slo_that_no_core_meets() -> None:
    """It gets no cores in vain."""
    plan = plan_of(8, one("slow", rate=10, ms=30, slo_p99_ms=20), one("busy", rate=1500, ms=2.0))
    slow = plan.version("slow/1")
    assert slow is not None
    assert slow.cores_short is None
    assert sizes(plan)["busy/1"] > sizes(plan)["slow/1"]
    assert "no number of cores helps" in plan.problems[0]


def test_a_host_that_is_too_small() -> None:
    plan = plan_of(2, one("a"), one("b"), one("c", "ab"))
    assert plan.problems[0] == (
        "the host has 2 cores and 3 are needed for 2 baselines with cores of their own and the A/B versions' pool: "
        "all versions share all cores"
    )
    assert all(version.shares and version.cpus == (0, 1) for version in plan.versions)


def test_an_overloaded_trial_takes_no_core_that_a_baseline_needs() -> None:
    plan = plan_of(8, one("base", rate=1400, ms=2.0, slo_p99_ms=8.0), one("trial", "ab", rate=10_000, ms=2.0))
    base, trial = plan.version("base/1"), plan.version("trial/1")
    assert base is not None
    assert trial is not None
    assert base.meets_slo
    assert math.isinf(trial.prediction.p99_ms)
    assert "it asks for more than its share" in trial.why


def test_whole_cores_in_one_cache_group() -> None:
    host = uniform_host(32, sockets=2, threads=2, cache_group=4)
    plan = allocate(host, [one("a", rate=900, ms=2.0), one("b", rate=900, ms=2.0)], Settings(reserved_cores=2))
    cores = {cpu: core for core in host.physical for cpu in core.cpus}
    for version in plan.versions:
        own = {cores[cpu] for cpu in version.cpus}
        assert sum(len(core.cpus) for core in own) == len(version.cpus), "both siblings are its own"
        assert len({core.node for core in own}) == 1
    free = allocate(host, [one("a")], Settings(reserved_cores=2, smt="free")).version("a/1")
    assert free is not None
    assert all(cpu < 16 for cpu in free.cpus), "the second siblings stay free"


def test_slow_cores_go_to_the_pool_and_the_reserve() -> None:
    physical = tuple(Core(cpus=(n,), kind="performance" if n < 4 else "efficiency") for n in range(8))
    plan = plan_of(Host(physical=physical), one("base", rate=900, ms=2.0), one("trial", "ab", rate=300, ms=2.0))
    base = plan.version("base/1")
    assert base is not None
    assert set(base.cpus) <= {0, 1, 2, 3}
    assert set(plan.reserve) <= {4, 5, 6, 7}


def test_fixed_sessions_are_what_the_manifest_says() -> None:
    plan = plan_of(8, one("a", rate=3000, ms=2.0, sessions=2), one("b"))
    assert len(plan.version("a/1").sessions) == 2  # type: ignore[union-attr]
    assert len(plan.version("a/1").cpus) == 2  # type: ignore[union-attr]
    many = plan_of(2, one("a", sessions=3), one("b")).version("a/1")
    assert many is not None
    assert many.sessions == ((0,), (0,), (0,)), "more sessions than cores take turns on them"
    wide = plan_of(8, one("a", threads=2, sessions=2), one("b")).version("a/1")
    assert wide is not None
    assert [len(session) for session in wide.sessions] == [2, 2]


def large(count: int) -> Sequence[Demand]:
    return [
        Demand(
            model=f"m{number:03}",
            version=1,
            role="baseline" if number < 100 else "ab",
            rate_per_s=10 + number % 290,
            cost=Cost(fixed_ms=0.3 + number % 27 / 10, per_row_ms=0.02),
            batches=((1, 0.6), (10, 0.3), (100, 0.1)),
            slo_p99_ms=20 if number % 3 == 0 else None,
        )
        for number in range(count)
    ]


def test_a_large_host() -> None:
    """`bench.scheduler_scale` has the time that it takes."""
    plan = allocate(uniform_host(256, sockets=2), large(500))
    assert len(plan.versions) == 500
    assert sum(not version.shares for version in plan.versions) == 100
