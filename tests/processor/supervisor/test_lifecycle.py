"""The reconciliation policy, with made-up times and no processes."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corelane.processor.control.worker_spec import WorkerSpec
from corelane.processor.supervisor import lifecycle
from corelane.processor.supervisor.lifecycle import (
    Drain,
    Instance,
    Kill,
    Limits,
    Phase,
    Revision,
    Start,
    State,
    Trouble,
    Wanted,
    WantedModel,
    decide,
)

SECOND = 1_000_000_000
LIMITS = Limits(loads_max=2)


def spec(model: str, version: int, sessions: int = 1) -> WorkerSpec:
    return WorkerSpec(
        model=model,
        version=version,
        folder=f"/{model}/{version}",
        engine="auto",
        sessions=sessions,
        threads_per_session=1,
        precision="fp32",
        divergence_relative=0.01,
        divergence_absolute=1e-5,
        op_libraries=(),
        queue_capacity=1,
        queue_timeout_ms=1,
        dispatch="shared_queue",
        memory_bytes_max=None,
        message_bytes_max=1,
    )


def revision(model: str, version: int, sessions: int = 1, files: str = "f") -> Revision:
    return Revision(spec=spec(model, version, sessions), fingerprint=files)


def wanted(
    model: str, *versions: int, sessions: int = 1, keep: bool = True, files: str = "f", **state: Any
) -> WantedModel:
    return WantedModel(
        name=model,
        keep_unwanted=keep,
        versions=tuple(
            Wanted(spec=spec(model, version, sessions), fingerprint=files, load_timeout_ns=60 * SECOND)
            for version in versions
        ),
        **state,
    )


def instance(
    number: int, of: WorkerSpec, phase: Phase = Phase.AVAILABLE, routed: bool = True, since: int = 0, files: str = "f"
) -> Instance:
    return Instance(
        id=number,
        spec=of,
        fingerprint=files,
        phase=phase,
        since_ns=since,
        load_timeout_ns=60 * SECOND,
        routed=routed and phase is Phase.AVAILABLE,
    )


def failed(retry_ns: int | None = None) -> Trouble:
    return Trouble(attempts=1, error="why", at_ns=7, retry_ns=retry_ns, was_available=False, served=False)


def short(actions: list[Any]) -> list[str]:
    names = []
    for action in actions:
        if isinstance(action, Start):
            names.append(f"start {action.wanted.spec.name}")
        else:
            names.append(f"{'drain' if isinstance(action, Drain) else 'kill'} {action.instance}")
    return names


def check(models: list[WantedModel], instances: list[Instance], expected: list[str], **rest: Any) -> None:
    assert short(decide(models, instances, rest.get("troubles", {}), LIMITS, rest.get("now", 0))) == expected


def test_what_is_wanted_is_started_a_few_at_a_time() -> None:
    check([wanted("a", 1), wanted("b", 1, 2)], [], ["start a/1", "start b/1"])
    check([wanted("a", 1), wanted("b", 1)], [instance(1, spec("a", 1), Phase.LOADING)], ["start b/1"])


def test_a_load_that_hangs_gives_its_place_to_others() -> None:
    hung = [instance(n, spec("a", n), Phase.LOADING) for n in (1, 2)]
    check([wanted("a", 1, 2), wanted("b", 1)], hung, [], now=5 * SECOND)
    check([wanted("a", 1, 2), wanted("b", 1)], hung, ["start b/1"], now=30 * SECOND)


def test_the_old_version_goes_when_every_gateway_knows_the_new_one() -> None:
    old = instance(1, spec("a", 1))
    check([wanted("a", 2)], [old, instance(2, spec("a", 2), Phase.LOADING)], [])
    check([wanted("a", 2)], [old, instance(2, spec("a", 2), routed=False)], [])
    check([wanted("a", 2)], [old, instance(2, spec("a", 2))], ["drain 1"])


def test_a_failed_version_keeps_the_old_one() -> None:
    check([wanted("a", 2)], [instance(1, spec("a", 1))], [], troubles={revision("a", 2): failed()})
    both = [instance(1, spec("a", 1)), instance(2, spec("a", 2))]
    check([wanted("a", 2, 3)], both, [], troubles={revision("a", 3): failed()})


def test_a_list_drops_what_it_no_longer_names_once_one_of_it_serves() -> None:
    both = [instance(1, spec("a", 1)), instance(2, spec("a", 2))]
    check([wanted("a", 2, 3, keep=False)], both, ["drain 1"], troubles={revision("a", 3): failed()})


def test_a_changed_setting_replaces_the_worker_of_its_own_version_only() -> None:
    old = [instance(1, spec("a", 1)), instance(2, spec("a", 2))]
    model = wanted("a", 1, 2, sessions=2)
    check([model], [*old, instance(3, spec("a", 1, 2))], ["drain 1", "start a/2"])
    check([model], [*old, instance(3, spec("a", 1, 2))], ["drain 1"], troubles={revision("a", 2, 2): failed()})


def test_files_that_vanish_are_served_on_and_a_removed_model_is_not() -> None:
    check([wanted("a")], [instance(1, spec("a", 1))], [])
    check([], [instance(1, spec("a", 1))], ["drain 1"])
    check([], [instance(1, spec("a", 1), Phase.LOADING)], ["kill 1"])


def test_a_failed_load_is_tried_again_when_files_change_and_a_crash_when_its_time_comes() -> None:
    check([wanted("a", 1)], [], [], troubles={revision("a", 1): failed()})
    check([wanted("a", 1)], [], ["start a/1"], troubles={revision("a", 1, files="older"): failed(retry_ns=5)})
    check([wanted("a", 1)], [], [], troubles={revision("a", 1): failed(retry_ns=5)}, now=4)
    check([wanted("a", 1)], [], ["start a/1"], troubles={revision("a", 1): failed(retry_ns=5)}, now=5)


def test_loads_and_drains_have_an_end() -> None:
    check([wanted("a", 1)], [instance(1, spec("a", 1), Phase.LOADING)], ["kill 1", "start a/1"], now=61 * SECOND)
    check([], [instance(1, spec("a", 1), Phase.DRAINING)], [], now=30 * SECOND)
    check([], [instance(1, spec("a", 1), Phase.DRAINING)], ["kill 1"], now=31 * SECOND)


def test_crashes_are_retried_at_once_then_later_and_later() -> None:
    trouble, waits = None, []
    for _ in range(9):
        trouble = lifecycle.crashed(trouble, "why", SECOND, LIMITS, 0)
        assert trouble.retry_ns is not None
        waits.append(trouble.retry_ns / SECOND)
    assert waits == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    after_health = lifecycle.crashed(trouble, "why", 100 * SECOND, LIMITS, 0)
    assert after_health.retry_ns == 0


def test_crashed_loads_are_given_up_and_refused_ones_at_once() -> None:
    trouble, waits = None, []
    for _ in range(5):
        trouble = lifecycle.load_failed(trouble, "why", True, LIMITS, 0)
        waits.append(trouble.retry_ns)
    assert waits == [0.5 * SECOND, SECOND, 2 * SECOND, 4 * SECOND, None]
    assert lifecycle.load_failed(None, "why", False, LIMITS, 0).retry_ns is None


def test_report() -> None:
    model = wanted("a", 2, 3, 4)
    instances = [
        instance(1, spec("a", 1), Phase.DRAINING),
        instance(2, spec("a", 2)),
        instance(3, spec("a", 3), Phase.LOADING),
    ]
    crashed = lifecycle.crashed(None, "died", SECOND, LIMITS, 0)
    troubles = {revision("a", 3): crashed, revision("a", 4): failed()}
    reports = lifecycle.report(model.versions, {5: "still being written"}, instances, troubles, {0: ""})
    assert [(r.version, r.state, r.error, r.restarting) for r in reports] == [
        (0, State.END, "", False),
        (1, State.UNLOADING, "", False),
        (2, State.AVAILABLE, "", False),
        (3, State.LOADING, "died", True),
        (4, State.END, "why", False),
        (5, State.START, "still being written", False),
    ]


def test_what_served_is_restarting_as_long_as_it_will_be_tried_again() -> None:
    one, loading = wanted("a", 1).versions, [instance(1, spec("a", 1), Phase.LOADING)]
    trouble = lifecycle.crashed(None, "died", SECOND, LIMITS, 0)
    for _ in range(LIMITS.crashed_loads_max - 1):  # killed again while it loads
        trouble = lifecycle.load_failed(trouble, "died", True, LIMITS, 0)
        for instances in ([], loading):
            assert lifecycle.report(one, {}, instances, {revision("a", 1): trouble}, {})[0].restarting
    trouble = lifecycle.load_failed(trouble, "died", True, LIMITS, 0)
    assert trouble.retry_ns is None
    assert not lifecycle.report(one, {}, [], {revision("a", 1): trouble}, {})[0].restarting


def test_changed_files_are_loaded_beside_what_serves_and_then_take_its_place() -> None:
    old, changed = instance(1, spec("a", 1)), wanted("a", 1, files="g")
    check([changed], [old], ["start a/1"])
    check([changed], [old, instance(2, spec("a", 1), Phase.LOADING, files="g")], [])
    check([changed], [old, instance(2, spec("a", 1), routed=False, files="g")], [])
    check([changed], [old, instance(2, spec("a", 1), files="g")], ["drain 1"])
    check([changed], [old], [], troubles={revision("a", 1, files="g"): failed()})
    check([wanted("a", 1)], [old], [], troubles={revision("a", 1, files="g"): failed()})  # changed back
    loading = instance(1, spec("a", 1), Phase.LOADING)
    check([changed], [loading], ["kill 1", "start a/1"])


def test_what_serves_stays_while_its_files_change() -> None:
    both = [instance(1, spec("a", 1)), instance(2, spec("a", 2))]
    check([wanted("a", held=frozenset({2}))], both[1:], [])
    check([wanted("a", 1, held=frozenset({2}))], both, [])
    check([wanted("a", 3, held=frozenset({2}))], [*both, instance(3, spec("a", 3))], ["drain 1"])
    check([wanted("a", held=frozenset({2}))], [instance(2, spec("a", 2), Phase.LOADING)], ["kill 2"])


def test_nothing_is_started_from_a_folder_that_is_to_be_looked_at_first() -> None:
    check([wanted("a", 1, is_seen=False), wanted("b", 1)], [], ["start b/1"])
    check([wanted("a", 1, is_seen=False)], [instance(1, spec("a", 1))], [])


def test_status_says_that_other_files_are_served_than_there_are() -> None:
    serving = [instance(1, spec("a", 1))]

    def error(model: WantedModel, waiting: dict[int, str], troubles: dict[Revision, Trouble]) -> str:
        (found,) = lifecycle.report(model.versions, waiting, serving, troubles, {})
        assert found.state is State.AVAILABLE
        return found.error

    assert error(wanted("a", 1), {}, {}) == ""
    assert error(wanted("a", 1, files="g"), {}, {revision("a", 1, files="g"): failed()}) == (
        "files or settings have changed, and what was loaded before is served: why"
    )
    assert error(wanted("a"), {1: "still being written"}, {}) == (
        "its files have changed, and what was loaded before is served: still being written"
    )


def test_settled() -> None:
    assert lifecycle.is_settled(wanted("a", 1, 2), [instance(1, spec("a", 1))], {})
    assert not lifecycle.is_settled(wanted("a", 1), [instance(1, spec("a", 1), routed=False)], {})
    assert not lifecycle.is_settled(wanted("a", 1), [], {revision("a", 1): failed(retry_ns=5)})
    assert lifecycle.is_settled(wanted("a", 1), [], {revision("a", 1): failed()})
    assert lifecycle.is_settled(wanted("a"), [], {})
    assert not lifecycle.is_settled(wanted("a", is_seen=False), [], {})
    assert not lifecycle.is_settled(wanted("a", is_coming=True), [], {})
    assert not lifecycle.is_settled(wanted("a", 1, is_coming=True), [], {revision("a", 1): failed()})


def test_done() -> None:
    serving = [instance(1, spec("a", 1))]
    assert lifecycle.is_done(wanted("a", 1), serving, {})
    for model in (wanted("a", 1, 2), wanted("a", 1, files="g"), wanted("a", 1, sessions=2)):
        assert not lifecycle.is_done(model, serving, {})
        troubles = {version.revision: failed() for version in model.versions}
        assert lifecycle.is_done(model, serving, troubles)
    assert not lifecycle.is_done(wanted("a", 1), [instance(1, spec("a", 1), routed=False)], {})
    assert not lifecycle.is_done(wanted("a", 1, is_seen=False), serving, {})
    assert not lifecycle.is_done(wanted("a", 1, is_coming=True), serving, {})
    assert lifecycle.is_done(wanted("a"), [], {})


_goals = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abc"), st.sets(st.integers(1, 4), min_size=1, max_size=3), max_size=3),
        st.sampled_from("fg"),
    ),
    min_size=1,
    max_size=5,
)
_broken = st.sets(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.sampled_from("fg")), max_size=6)


@given(_goals, _broken, st.randoms())
def test_any_sequence_of_manifests_and_files_comes_to_rest_with_every_model_served_throughout(
    goals: list[tuple[dict[str, set[int]], str]], broken: set[tuple[str, int, str]], random: Any
) -> None:
    instances: dict[int, Instance] = {}
    troubles: dict[Revision, Trouble] = {}
    number, now = 0, 0
    for goal, files in goals:
        models = [wanted(name, *sorted(versions), files=files) for name, versions in sorted(goal.items())]
        served = {i.spec.model for i in instances.values() if i.phase is Phase.AVAILABLE and i.routed}
        for _ in range(200):
            now += SECOND
            actions = decide(models, list(instances.values()), troubles, LIMITS, now)
            assert actions == decide(models, list(instances.values()), troubles, LIMITS, now)
            for action in actions:
                if isinstance(action, Start):
                    assert action.wanted.revision not in {
                        i.revision for i in instances.values() if i.phase is not Phase.DRAINING
                    }
                    number += 1
                    instances[number] = instance(number, action.wanted.spec, Phase.LOADING, since=now, files=files)
                elif isinstance(action, Drain):
                    instances[action.instance] = dataclasses.replace(
                        instances[action.instance], phase=Phase.DRAINING, routed=False, since_ns=now
                    )
                else:
                    assert isinstance(action, Kill)
                    del instances[action.instance]
            if not actions and all(i.phase is Phase.AVAILABLE and i.routed for i in instances.values()):
                break
            # The world moves: a load ends, a table arrives, a drain is done.
            for one in random.sample(sorted(instances), min(2, len(instances))):
                found = instances[one]
                source = (found.spec.model, found.spec.version, found.fingerprint)
                if found.phase is Phase.LOADING and source in broken:
                    troubles[found.revision] = failed()
                    del instances[one]
                elif found.phase is Phase.LOADING:
                    instances[one] = dataclasses.replace(found, phase=Phase.AVAILABLE, since_ns=now)
                elif found.phase is Phase.AVAILABLE:
                    instances[one] = dataclasses.replace(found, routed=True)
                else:
                    del instances[one]
            routed = {i.spec.model for i in instances.values() if i.phase is Phase.AVAILABLE and i.routed}
            assert served & set(goal) <= routed, "a model that was served and is still wanted lost its last version"
        else:
            raise AssertionError("it does not come to rest")
        for name, versions in goal.items():
            running = {(i.spec.version, i.fingerprint) for i in instances.values() if i.spec.model == name}
            loadable = {(version, files) for version in versions if (name, version, files) not in broken}
            assert loadable <= running
            if loadable and len(loadable) == len(versions):
                assert running == loadable
        assert {i.spec.model for i in instances.values()} <= set(goal)


def test_a_crash_is_over_once_the_version_has_been_well_for_long() -> None:
    worker = instance(1, spec("m", 1), since=10 * SECOND)
    crash = lifecycle.crashed(None, "died", SECOND, LIMITS, 5 * SECOND)
    troubles = {worker.revision: crash}
    before_ns, after_ns = 10 * SECOND + LIMITS.healthy_ns - 1, 10 * SECOND + LIMITS.healthy_ns
    assert lifecycle.not_outlived(troubles, [worker], LIMITS, before_ns) == troubles
    assert lifecycle.not_outlived(troubles, [worker], LIMITS, after_ns) == {}
    loading = instance(1, spec("m", 1), phase=Phase.LOADING, since=10 * SECOND)
    assert lifecycle.not_outlived(troubles, [loading], LIMITS, after_ns) == troubles
    refused = {worker.revision: failed()}
    assert lifecycle.not_outlived(refused, [worker], LIMITS, after_ns) == refused
