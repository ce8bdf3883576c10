"""The shared-memory channel: every way a call can end, and what happens when one end goes."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from corelane.processor import _native
from corelane.processor.channel.gateway_end import WorkerLost
from corelane.processor.channel.methods import Method
from corelane.processor.errors import Cancelled, DeadlinePassed, InvalidRequest, Overloaded
from tests.support.channels import INSTANCE, MESSAGE_BYTES_MAX, Callers, Gate, Rig, ask, soon
from tests.support.server import wait_until
from tests.support.threads import in_threads


@pytest.fixture
def echo() -> Iterator[Rig]:
    rig = Rig(sessions=2, capacity=20)
    yield rig
    rig.stop()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65_000, 5_000_000, MESSAGE_BYTES_MAX])
def test_requests_and_answers_of_any_size(echo: Rig, size: int) -> None:
    gateway, payload = echo.gateway(), os.urandom(size)
    for _ in range(3):
        assert ask(gateway, payload) == payload[::-1]


def test_a_request_that_is_too_large_is_not_taken(echo: Rig) -> None:
    with pytest.raises(InvalidRequest, match=r"over listen.message_bytes_max"):
        ask(echo.gateway(), bytes(MESSAGE_BYTES_MAX + 1))
    assert echo.channel.statistics()["accepted"] == 0


def test_the_memory_of_large_messages_comes_back() -> None:
    rig = Rig(capacity=40)
    gateway = rig.gateway()
    path = f"/proc/self/fd/{rig.channel.descriptor}"

    def memory_bytes() -> int:
        return os.stat(path).st_blocks * 512

    payload = bytes(MESSAGE_BYTES_MAX)
    for _ in range(3):
        ask(gateway, payload)
    assert memory_bytes() < 2 * MESSAGE_BYTES_MAX
    rig.stop()


def test_methods_and_errors_travel() -> None:
    rig = Rig(lambda session, method, request: (3 if method == 2 else 0, f"{method} füll".encode()))
    gateway = rig.gateway()
    assert ask(gateway, b"") == "1 füll".encode()
    with pytest.raises(InvalidRequest, match="2 füll"):
        ask(gateway, b"", Method.CLASSIFY)
    counts = rig.channel.statistics()
    assert (counts["answered"], counts["failed"]) == (1, 1)
    rig.stop()


def test_many_callers_of_several_gateways_at_once(echo: Rig) -> None:
    wrong: list[bytes] = []
    gateways = [echo.gateway(owner) for owner in (1, 2, 3)]

    def run(caller: int) -> None:
        for number in range(300):
            payload = f"{caller}-{number}".encode() * (1 + number % 7 * 1000)
            if ask(gateways[caller % 3], payload) != payload[::-1]:
                wrong.append(payload)

    in_threads(8, run)
    assert wrong == []
    counts = echo.channel.statistics()
    assert counts["accepted"] == counts["answered"] == sum(counts["total_us"]) == 2400


def test_a_full_channel_refuses_at_once() -> None:
    gate = Gate()
    rig = Rig(gate, capacity=3)
    gateway = rig.gateway()
    callers = Callers(gateway, rig)
    for name in ("first", "a", "b", "c"):
        callers.call(name)
    with pytest.raises(Overloaded, match=r"the queue of m/1 is full: 3 requests wait \(queue.capacity\)"):
        ask(gateway, b"d")
    gate.open.set()
    callers.join()
    assert callers.results == {"first": b"FIRST", "a": b"A", "b": b"B", "c": b"C"}
    assert rig.channel.statistics()["rejected"] == 1
    rig.stop()


def test_a_deadline_that_passes_in_the_queue_and_in_a_run() -> None:
    gate = Gate()
    rig = Rig(gate)
    callers = Callers(rig.gateway(), rig)
    callers.call("runs", soon(0.3))
    assert gate.started.acquire(timeout=10)
    callers.call("waits", soon(0.05))
    callers.join()
    assert all(isinstance(error, DeadlinePassed) for error in callers.results.values())
    with pytest.raises(DeadlinePassed):
        ask(rig.gateway(), b"late", deadline_ns=soon(-1))
    gate.open.set()
    assert ask(rig.gateway(), b"next") == b"NEXT"
    assert [name for _, name in gate.order] == ["runs", "next"]
    counts = rig.channel.statistics()
    assert (counts["expired"], counts["cancelled"], counts["answered"]) == (1, 1, 1)
    rig.stop()


def test_the_wait_in_the_queue_has_an_end() -> None:
    gate = Gate()
    rig = Rig(gate, queue_timeout_s=0.1)
    callers = Callers(rig.gateway(), rig)
    callers.call("runs")
    assert gate.started.acquire(timeout=10)
    with pytest.raises(DeadlinePassed, match=r"waited 100 ms in the queue of m/1 \(queue.timeout_ms\)"):
        ask(rig.gateway(), b"waits")
    gate.open.set()
    callers.join()
    assert callers.results == {"runs": b"RUNS"}, "the time allowed in the queue does not bound the run"
    rig.stop()


def test_a_client_that_hangs_up() -> None:
    gate = Gate()
    rig = Rig(gate)
    callers = Callers(rig.gateway(), rig)
    hang_ups = {name: _native.Cancellation() for name in ("runs", "waits", "stays")}
    for name, cancellation in hang_ups.items():
        callers.call(name, cancellation=cancellation)
    assert gate.started.acquire(timeout=10)
    hang_ups["waits"].cancel()
    hang_ups["runs"].cancel()
    for thread in callers.threads[:2]:
        thread.join(10)
    assert isinstance(callers.results["waits"], Cancelled)
    assert isinstance(callers.results["runs"], Cancelled)
    gone = _native.Cancellation()
    gone.cancel()
    with pytest.raises(Cancelled):
        ask(rig.gateway(), b"gone", cancellation=gone)
    gate.open.set()
    callers.join()
    assert callers.results["stays"] == b"STAYS"
    assert [name for _, name in gate.order] == ["runs", "stays"]
    assert rig.channel.statistics()["cancelled"] == 2
    rig.stop()


def test_a_worker_that_dies_ends_every_call() -> None:
    gate = Gate()
    rig = Rig(gate)
    gateway = rig.gateway()
    callers = Callers(gateway, rig)
    callers.call("runs")
    callers.call("waits")
    rig.channel.mark_dead()
    callers.join()
    assert all(isinstance(error, WorkerLost) for error in callers.results.values())
    with pytest.raises(WorkerLost):
        ask(gateway, b"late")
    gate.open.set()
    rig.group.stop()


def test_a_gateway_that_dies_gives_its_slots_back() -> None:
    gate = Gate()
    rig = Rig(gate, capacity=3)
    dead, alive = Callers(rig.gateway(5), rig), Callers(rig.gateway(6), rig)
    dead.call("runs")
    assert gate.started.acquire(timeout=10)
    dead.call("waits")
    alive.call("stays")
    assert rig.channel.reclaim(5) == 2
    assert rig.channel.reclaim(5) == 0
    assert rig.channel.statistics()["queued"] == 1
    gate.open.set()
    alive.join()
    assert alive.results == {"stays": b"STAYS"}
    wait_until(lambda: rig.channel.statistics()["running"] == 0, "the run that nobody waits for")
    assert [name for _, name in gate.order] == ["runs", "stays"]
    assert rig.channel.statistics()["cancelled"] == 2
    rig.stop()
    rig.channel.mark_dead()  # the threads of the gateway that is dead only in name
    dead.join()


def test_closing_waits_for_what_was_taken_and_takes_nothing_more() -> None:
    gate = Gate()
    rig = Rig(gate)
    gateway = rig.gateway()
    callers = Callers(gateway, rig)
    callers.call("runs")
    assert not rig.worker.close_if_idle()
    gate.open.set()
    callers.join()
    wait_until(rig.worker.close_if_idle, "an idle channel")
    with pytest.raises(WorkerLost):
        ask(gateway, b"late")
    rig.stop()


def test_another_channel_under_the_same_name_is_not_taken_for_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    rig = Rig()
    for instance in (INSTANCE + 1, 0):
        with pytest.raises(RuntimeError, match="not the channel of this worker"):
            _native.SharedChannel.map(os.dup(rig.channel.descriptor), instance)
    for content in (b"", b"\0" * 100_000, os.urandom(100_000)):
        file = tmp_path_factory.mktemp("channel") / "file"
        file.write_bytes(content)
        with pytest.raises(RuntimeError, match="channel"):
            _native.SharedChannel.map(os.open(file, os.O_RDWR), INSTANCE)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(RuntimeError):
            _native.SharedChannel.map(os.dup(rig.channel.descriptor), 1)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    rig.stop()


def test_too_much_memory_to_address_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="cannot be addressed"):
        _native.SharedChannel.create(instance=1, slots=1 << 20, message_bytes_max=1 << 31, queue_timeout_ns=1)


def test_idle_sessions_use_no_cpu(echo: Rig) -> None:
    """One that looked for work now and then would never stand still; on a busy machine it goes to sleep when it can."""
    ask(echo.gateway(), b"")

    def stands_still() -> bool:
        before = [cpu_ns for *_, cpu_ns in echo.group.sessions()]
        threading.Event().wait(0.3)
        return [cpu_ns for *_, cpu_ns in echo.group.sessions()] == before

    wait_until(stands_still, "sessions that are asleep")


def test_waiting_in_the_channel_lets_other_threads_run(echo: Rig) -> None:
    ticks = 0
    gate = Gate()
    rig = Rig(gate)
    callers = Callers(rig.gateway(), rig)
    callers.call("runs")
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        ticks += 1
    gate.open.set()
    callers.join()
    rig.stop()
    assert ticks > 10
