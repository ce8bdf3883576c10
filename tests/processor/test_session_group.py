"""The SessionGroup: bounded, in order, one reply each."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from processor.channel import Request
from processor.errors import Cancelled, DeadlinePassed, InvalidRequest, Overloaded, RequestError, Unavailable
from processor.methods import Method
from processor.worker.session_group import SessionGroup
from tests.support.threads import in_threads

FAR = 1 << 62


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Bench:
    """A group whose handler waits at `gate`, and the replies that its requests got."""

    def __init__(self, sessions: int = 1, dispatch: str = "shared_queue", handler: Any = None) -> None:
        self.clock = Clock()
        self.gate = threading.Event()
        self.started = threading.Semaphore(0)
        self.replies: dict[str, list[bytes | RequestError]] = {}
        self.order: list[tuple[int, str]] = []
        self.group = SessionGroup(
            name="m/1",
            sessions=sessions,
            capacity=3,
            timeout_ns=100,
            dispatch=dispatch,
            handler=handler or self._handle,
            clock_ns=self.clock,
        )
        self.group.start()

    def _handle(self, index: int, request: Request) -> bytes:
        self.order.append((index, request.payload.decode()))
        self.started.release()
        self.gate.wait(10)
        return request.payload.upper()

    def submit(self, name: str, deadline_ns: int = FAR) -> Request:
        replies = self.replies.setdefault(name, [])
        request = Request(
            method=Method.PREDICT,
            payload=name.encode(),
            deadline_ns=deadline_ns,
            arrived_ns=self.clock.ns,
            send=replies.append,
        )
        self.group.submit(request)
        return request

    def occupy(self) -> None:
        """Keeps the only session busy with a request named "first"."""
        self.submit("first")
        assert self.started.acquire(timeout=10)

    def finish(self) -> None:
        self.gate.set()
        self.group.stop()
        self.group.check_integrity()


def kinds(bench: Bench) -> dict[str, list[Any]]:
    return {
        name: [reply if isinstance(reply, bytes) else type(reply) for reply in replies]
        for name, replies in bench.replies.items()
    }


def test_requests_run_in_order_and_are_answered_once() -> None:
    bench = Bench()
    bench.occupy()
    for name in "abc":
        bench.submit(name)
    bench.finish()
    assert [name for _, name in bench.order] == ["first", "a", "b", "c"]
    assert kinds(bench) == {"first": [b"FIRST"], "a": [b"A"], "b": [b"B"], "c": [b"C"]}
    assert bench.group.statistics().answered == 4


def test_a_full_queue_refuses_at_once() -> None:
    bench = Bench()
    bench.occupy()
    for name in "abc":
        bench.submit(name)
    with pytest.raises(Overloaded, match="queue of m/1 is full: 3 requests wait"):
        bench.submit("d")
    bench.group.check_integrity()
    bench.finish()
    assert bench.replies["d"] == []
    assert bench.group.statistics().rejected == 1


def test_a_passed_deadline_is_answered_without_a_run() -> None:
    bench = Bench()
    bench.occupy()
    bench.submit("late", deadline_ns=50)
    bench.clock.ns = 60
    bench.finish()
    assert kinds(bench)["late"] == [DeadlinePassed]
    assert [name for _, name in bench.order] == ["first"]
    assert bench.group.statistics().expired == 1


def test_the_wait_has_an_end() -> None:
    bench = Bench()
    bench.occupy()
    bench.clock.ns = 10
    bench.submit("a")
    bench.clock.ns = 30
    bench.submit("b")
    assert bench.group.expire(40) == 110
    assert bench.group.expire(110) == 130
    assert kinds(bench)["a"] == [DeadlinePassed]
    assert bench.replies["b"] == []
    assert bench.group.expire(1000) is None
    bench.finish()
    assert bench.group.statistics().expired == 2


def test_a_cancelled_request_gives_its_place_back() -> None:
    bench = Bench()
    bench.occupy()
    requests = [bench.submit(name) for name in "abc"]
    requests[1].cancelled = True
    bench.group.cancel(requests[1])
    bench.submit("d")
    bench.finish()
    assert [name for _, name in bench.order] == ["first", "a", "c", "d"]
    assert kinds(bench)["b"] == [Cancelled]
    bench.group.cancel(requests[0])
    assert kinds(bench)["a"] == [b"A"], "what was answered cannot be cancelled"


def test_errors_of_a_run_are_its_answer_and_the_session_lives() -> None:
    def handle(index: int, request: Request) -> bytes:
        if request.payload == b"bad":
            raise InvalidRequest("no")
        if request.payload == b"bug":
            raise ZeroDivisionError
        return b"fine"

    bench = Bench(handler=handle)
    for name in ("bad", "bug", "good"):
        bench.submit(name)
    bench.finish()
    assert kinds(bench) == {"bad": [InvalidRequest], "bug": [RequestError], "good": [b"fine"]}
    assert (bench.group.statistics().failed, bench.group.statistics().answered) == (2, 1)


def test_a_stopped_group_takes_nothing_and_finishes_what_it_has() -> None:
    bench = Bench()
    bench.occupy()
    bench.submit("a")
    bench.finish()
    assert kinds(bench)["a"] == [b"A"]
    with pytest.raises(Unavailable, match="m/1 is being unloaded"):
        bench.submit("b")


def test_round_robin_deals_in_turn_and_a_shared_queue_is_pulled_from() -> None:
    def run(dispatch: str, check: Callable[[list[tuple[int, str]]], None]) -> None:
        bench = Bench(sessions=2, dispatch=dispatch)
        for name in ("a", "b"):
            bench.submit(name)
            assert bench.started.acquire(timeout=10)
        for name in ("c", "d", "e"):
            bench.submit(name)
        bench.finish()
        check(bench.order)

    def dealt(order: list[tuple[int, str]]) -> None:
        assert {name: index for index, name in order} == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0}

    def pulled(order: list[tuple[int, str]]) -> None:
        assert [name for _, name in order[:3]] == ["a", "b", "c"]

    run("round_robin", dealt)
    run("shared_queue", pulled)


def test_many_threads_get_one_answer_each() -> None:
    bench = Bench(sessions=4, handler=lambda index, request: request.payload)
    counts: list[int] = []

    def call(caller: int) -> None:
        answered = refused = 0
        for number in range(200):
            name = f"{caller}-{number}"
            try:
                bench.submit(name)
                answered += 1
            except Overloaded:
                refused += 1
        counts.append(answered)

    in_threads(4, call)
    bench.finish()
    got = [replies for replies in bench.replies.values() if replies]
    assert all(len(replies) == 1 for replies in got)
    statistics = bench.group.statistics()
    assert len(got) == sum(counts) == statistics.accepted == statistics.answered
