"""The SessionGroup: in order, one reply each, and sessions that change while it serves."""

import os
import threading
import time

import pytest

from corelane.processor import _native
from corelane.processor.errors import EngineFailed
from tests.support.channels import Callers, Gate, Rig, ask, placements
from tests.support.server import wait_until
from tests.support.threads import in_threads


def test_requests_run_in_the_order_they_came() -> None:
    gate = Gate()
    rig = Rig(gate, capacity=9)
    callers = Callers(rig.gateway(), rig)
    names = ["first", *"abcdefgh"]
    for name in names:
        callers.call(name)
    gate.open.set()
    callers.join()
    assert [name for _, name in gate.order] == names
    assert callers.results == {name: name.upper().encode() for name in names}
    rig.stop()


def test_round_robin_deals_in_turn_and_a_shared_queue_is_pulled_from() -> None:
    def run(round_robin: bool) -> list[tuple[int, str]]:
        gate = Gate()
        rig = Rig(gate, sessions=2, capacity=9, round_robin=round_robin)
        callers = Callers(rig.gateway(), rig)
        for name in "abcde":
            callers.call(name)
        gate.open.set()
        callers.join()
        rig.stop()
        return gate.order

    dealt = {name: session for session, name in run(round_robin=True)}
    assert dealt["a"] == dealt["c"] == dealt["e"] != dealt["b"] == dealt["d"]
    assert [name for _, name in run(round_robin=False)][:2] in (["a", "b"], ["b", "a"])


@pytest.mark.parametrize("round_robin", [False, True])
def test_sessions_are_added_removed_and_paused_while_they_serve(round_robin: bool) -> None:
    rig = Rig(sessions=1, capacity=40, round_robin=round_robin)
    gateway = rig.gateway()
    wrong: list[bytes] = []
    done = threading.Event()

    def call(caller: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            payload = f"{caller}-{number}".encode()
            if ask(gateway, payload) != payload[::-1]:
                wrong.append(payload)

    def change(_: int) -> None:
        shapes = [1, 4, 2, 3, 1, 2, 4]
        for number in range(60):
            count = shapes[number % len(shapes)]
            paused = [([], index > 0 and (number + index) % 3 == 0) for index in range(count)]
            assert rig.group.place(paused) == ""
            time.sleep(0.005)
        done.set()

    in_threads(5, lambda index: change(index) if index == 0 else call(index))
    assert wrong == []
    counts = rig.channel.statistics()
    assert counts["accepted"] == counts["answered"] > 100
    rig.stop()


def test_a_paused_group_keeps_what_waits() -> None:
    gate = Gate()
    rig = Rig(gate, sessions=2, capacity=9)
    assert rig.group.place([([], True), ([], True)]) == ""
    callers = Callers(rig.gateway(), rig)
    callers.call("a")
    callers.call("b")
    assert not gate.started.acquire(timeout=0.05)
    assert rig.group.place([([], True), ([], False)]) == ""
    gate.open.set()
    callers.join()
    assert gate.order == [(1, "a"), (1, "b")]
    rig.stop()


def test_a_session_that_is_removed_finishes_what_it_runs() -> None:
    gate = Gate()
    rig = Rig(gate, sessions=2)
    callers = Callers(rig.gateway(), rig)
    callers.call("a")
    callers.call("b")
    for _ in "ab":
        assert gate.started.acquire(timeout=10)
    remover = threading.Thread(target=lambda: rig.group.place(placements(1)))
    remover.start()
    assert remover.is_alive()
    gate.open.set()
    remover.join(10)
    callers.join()
    assert callers.results == {"a": b"A", "b": b"B"}
    assert len(rig.group.sessions()) == 1
    rig.stop()


def test_pins_stay_within_what_the_process_may_use() -> None:
    cores = sorted(os.sched_getaffinity(0))
    rig = Rig(sessions=1)

    def check(cpus: list[int], problem: str) -> None:
        assert problem in rig.group.place([(cpus, False)])

    ((thread, *_),) = rig.group.sessions()
    assert os.sched_getaffinity(thread) == set(cores)
    assert rig.group.place([([cores[-1]], False)]) == ""
    assert os.sched_getaffinity(thread) == {cores[-1]}
    assert ask(rig.gateway(), b"ab") == b"ba"
    check([max(cores) + 1], f"core {max(cores) + 1} is not one that this process may use")
    check([-1], "core -1 is not one")
    check([1 << 20], "is not one")
    assert os.sched_getaffinity(thread) == {cores[-1]}, "a refused placement changes nothing"
    assert rig.group.place([([], False)]) == ""
    assert os.sched_getaffinity(thread) == set(cores)
    assert "no slots for 9 sessions" in rig.group.place(placements(9))
    rig.stop()


def test_pins_stay_within_the_quota() -> None:
    channel = _native.SharedChannel.create(instance=1, slots=4, message_bytes_max=4096, queue_timeout_ns=10**9)
    handler = _native.PredictHandler(
        channel=channel,
        model=None,
        signatures=[],
        settings=_native.PredictSettings(
            model="", version=0, tensor_content=False, response_bytes_max=1, tensor_bytes_max=1
        ),
        batch_rows_max=0,
        batch_wait_ns=0,
        fallback=lambda session, method, request: (0, b"", None),
    )
    for _ in range(2):
        handler.add_session(None)
    group = _native.SessionGroup(
        channel=channel, handler=handler, capacity=1, round_robin=False, allowed=[0, 1], cores_max=1
    )
    assert group.place([([0], False), ([1], False)]) == "sessions are pinned to 2 cores; this process may use 1"
    assert group.place([([0], False), ([0], False)]) == ""
    group.stop()


def test_a_stopped_group_leaves_nothing_running() -> None:
    rig = Rig(sessions=3)
    wait_until(lambda: all(thread for thread, *_ in rig.group.sessions()), "threads")
    rig.stop()
    rig.stop()
    assert rig.group.sessions() == []


def test_an_exception_in_python_is_an_answer() -> None:
    def fail(session: int, method: int, request: bytes) -> tuple[int, bytes]:
        raise ZeroDivisionError("oh")

    rig = Rig(fail)
    with pytest.raises(EngineFailed, match="oh"):
        ask(rig.gateway(), b"")
    rig.stop()
