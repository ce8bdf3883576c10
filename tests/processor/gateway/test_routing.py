"""From a model spec to a worker: the routing table, and the router over workers that come and go."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from corelane.processor.channel.gateway_end import Cancellation, WorkerChannel, WorkerLost
from corelane.processor.channel.methods import Assignment, Method
from corelane.processor.control import decode, encode
from corelane.processor.control.gateway_messages import CountKind, RoutingTable
from corelane.processor.control.routes import ModelRoute, VersionRoute
from corelane.processor.errors import Cancelled, InvalidRequest, ModelNotFound, Overloaded, RequestError, Unavailable
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.router import Router


def version(
    number: int, instance: int | None = 1, traffic: float | None = None, restarting: bool = False, **more: Any
) -> VersionRoute:
    return VersionRoute(
        version=number,
        state="AVAILABLE" if instance else "LOADING" if more.get("loading") else "END",
        instance=instance,
        traffic=traffic,
        restarting=restarting,
        channel=str(instance),
        slots=2,
        **more,
    )


def model(*versions: VersionRoute, **labels: int) -> ModelRoute:
    return ModelRoute(name="m", versions=versions, labels=tuple(labels.items()))


@pytest.mark.parametrize(
    ("versions", "number", "label", "draw", "expected"),
    [
        ((version(1), version(2)), None, None, 0.5, 2),
        ((version(1), version(2, None)), None, None, 0.5, 1),
        ((version(1), version(2)), 1, None, 0.5, 1),
        ((version(1), version(2)), None, "old", 0.5, 1),
        ((version(1, traffic=25), version(2, traffic=75)), None, None, 0.2, 1),
        ((version(1, traffic=25), version(2, traffic=75)), None, None, 0.3, 2),
        ((version(1, traffic=100), version(2, traffic=0)), None, None, 0.999, 1),
        ((version(1, None, 95), version(2, 2, 5)), None, None, 0.5, 2),
    ],
)
def test_find(versions: tuple, number: int | None, label: str | None, draw: float, expected: int) -> None:
    assert model(*versions, old=1).find(number, label, draw=lambda: draw)[0].version == expected


@pytest.mark.parametrize(
    ("versions", "number", "label", "key", "expected"),
    [
        ((version(1), version(2)), 1, None, None, Assignment.NAMED),
        ((version(1), version(2)), None, "old", None, Assignment.LABELLED),
        ((version(1), version(2)), None, None, "u", Assignment.HIGHEST),
        ((version(1, traffic=50), version(2, traffic=50)), None, None, None, Assignment.SPLIT),
        ((version(1, traffic=50), version(2, traffic=50)), None, None, "u", Assignment.STICKY),
    ],
)
def test_why_a_version_is_chosen(
    versions: tuple, number: int | None, label: str | None, key: str | None, expected: Assignment
) -> None:
    assert model(*versions, old=1).find(number, label, key)[1] is expected


def test_a_sticky_split_is_stable_even_and_independent_of_other_models() -> None:
    versions = (version(1, traffic=80), version(2, traffic=20))
    keys = [f"user{number}" for number in range(5000)]

    def chosen(name: str) -> list[int]:
        route = ModelRoute(name=name, versions=versions)
        return [route.find(None, None, key)[0].version for key in keys]

    first, other = chosen("a"), chosen("b")
    assert first == chosen("a")
    assert 0.17 < first.count(2) / len(keys) < 0.23
    both = sum(one == two == 2 for one, two in zip(first, other, strict=True)) / len(keys)
    assert 0.025 < both < 0.055, "4 % are in the small arm of both, if the arms are independent"


def test_growing_an_arm_moves_nobody_out_of_it() -> None:
    small = ModelRoute(name="m", versions=(version(1, traffic=95), version(2, traffic=5)))
    large = ModelRoute(name="m", versions=(version(1, traffic=60), version(2, traffic=40)))
    for number in range(2000):
        key = f"user{number}"
        if small.find(None, None, key)[0].version == 2:
            assert large.find(None, None, key)[0].version == 2


LOADING = version(1, None, loading=True)
FAILED = version(3, None, error="no variables")


@pytest.mark.parametrize(
    ("versions", "number", "label", "error", "message"),
    [
        ((), None, None, ModelNotFound, r"Servable not found for request: Latest\(m\)"),
        ((version(1),), 7, None, ModelNotFound, r"Servable not found for request: Specific\(m, 7\)"),
        ((version(1, None),), 1, None, ModelNotFound, r"Specific\(m, 1\)"),
        ((version(1),), None, "new", InvalidRequest, "Unrecognized servable version label: new"),
        ((version(1),), None, "gone", ModelNotFound, r"Specific\(m, 9\)"),
        ((version(1, None, restarting=True),), 1, None, Unavailable, "version 1 of model m is restarting"),
        ((version(1, None, restarting=True),), None, None, Unavailable, "model m is restarting"),
        ((LOADING,), None, None, Unavailable, "^model m is still loading$"),
        ((LOADING,), 1, None, Unavailable, "^version 1 of model m is still loading$"),
        ((LOADING,), 7, None, ModelNotFound, r"^Servable not found for request: Specific\(m, 7\)$"),
        ((version(2), LOADING), 1, None, Unavailable, "version 1 of model m is still loading"),
        ((LOADING,), None, "first", Unavailable, "version 1 of model m is still loading"),
        ((version(1, None, loading=True, error="crashed"),), None, None, Unavailable, "m is still loading: crashed$"),
        ((FAILED, LOADING), None, None, Unavailable, "^model m is still loading$"),
        ((FAILED,), None, None, ModelNotFound, r"^Servable .*: Latest\(m\) \(version 3 failed: no variables\)$"),
        ((FAILED,), 3, None, ModelNotFound, r"^Servable .*: Specific\(m, 3\) \(version 3 failed: no variables\)$"),
        ((FAILED,), 4, None, ModelNotFound, r"^Servable not found for request: Specific\(m, 4\)$"),
        (
            (version(1, None, loading=True, shadow=10),),
            None,
            None,
            ModelNotFound,
            r"^Servable not found for request: Latest\(m\)$",
        ),
    ],
)
def test_find_nothing(versions: tuple, number: int | None, label: str | None, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        model(*versions, gone=9, first=1).find(number, label)


def test_a_model_that_nobody_has_looked_at_is_loading() -> None:
    for number in (None, 1, 7):
        with pytest.raises(Unavailable, match=r"is still loading$"):
            ModelRoute(name="m", loading=True).find(number, None)


def test_the_table_survives_its_message() -> None:
    models = (
        model(version(1), version(2, None, 5.0, True), LOADING, FAILED, old=1),
        ModelRoute(name="n", loading=True),
    )
    table = RoutingTable(epoch=3, models=models, unready="")
    assert decode(encode(table)) == table


class FakeWorker(WorkerChannel):
    def __init__(self, name: str) -> None:
        self.name = name
        self.behave: Callable[[], bytes] = lambda: name.encode()
        self.closed = False
        self.calls = self.refused = 0

    def call(self, call: Call, assignment: Assignment) -> bytes:
        assert not self.closed
        self.calls += 1
        return self.behave()

    def count_refused(self, call: Call, assignment: Assignment) -> None:
        self.refused += 1

    def close(self) -> None:
        self.closed = True


class Setting:
    def __init__(self) -> None:
        self.workers: dict[str, FakeWorker] = {}
        self.router = Router(self._connect)

    def _connect(self, model: str, route: VersionRoute) -> FakeWorker:
        self.workers[route.channel] = FakeWorker(route.channel)
        return self.workers[route.channel]

    def serve(self, *versions: VersionRoute) -> None:
        self.router.replace({"m": model(*versions)})

    def call(self, within_s: float = 0.0, number: int | None = None, cancellation: Cancellation | None = None) -> bytes:
        return self.router.call(
            Call(
                method=Method.PREDICT,
                model="m",
                version=number,
                request=b"",
                deadline_ns=time.monotonic_ns() + int((within_s or 60) * 1e9),
                may_wait=within_s > 0,
                cancellation=cancellation or Cancellation(),
            )
        )


def lost() -> bytes:
    raise WorkerLost("gone")


def refuse() -> bytes:
    raise InvalidRequest("it does not fit")


def test_times_of_inferences_are_kept_by_version() -> None:
    setting = Setting()
    setting.serve(version(1, 1), version(2, 2))
    before_ms = int(time.time() * 1000)
    setting.call(number=1)
    setting.workers["2"].behave = refuse
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            setting.call(number=2)
    kept = {(count.kind, count.version): count.number for count in setting.router.take_times()}
    assert kept.keys() == {(CountKind.LAST_MS, 1), (CountKind.LAST_MS, 2), (CountKind.FAILED_NS, 2)}
    assert before_ms <= kept[CountKind.LAST_MS, 1] <= kept[CountKind.LAST_MS, 2]
    assert kept[CountKind.FAILED_NS, 2] > 0
    assert setting.router.take_times() == [], "they are told once"


def test_a_lost_worker_is_replaced_by_another_version_at_once() -> None:
    setting = Setting()
    setting.serve(version(1, 1), version(2, 2))
    setting.workers["2"].behave = lost
    assert setting.call() == b"1"
    assert setting.call() == b"1", "the lost one is not asked again"
    assert setting.workers["2"].calls == 1


def test_without_deadline_a_lost_worker_fails_fast() -> None:
    setting = Setting()
    setting.serve(version(1, 1))
    setting.workers["1"].behave = lost
    for _ in range(2):
        with pytest.raises(Unavailable, match="model m is restarting"):
            setting.call()
    assert setting.workers["1"].calls == 1


def test_with_a_deadline_it_waits_for_the_next_worker() -> None:
    setting = Setting()
    setting.serve(version(1, 1))
    setting.workers["1"].behave = lost
    later = threading.Timer(0.2, setting.serve, (version(1, 5),))
    later.start()
    assert setting.call(within_s=30) == b"5"
    with pytest.raises(Unavailable):
        setting.workers["5"].behave = lost
        setting.call(within_s=0.1)


def test_a_request_that_kills_two_workers_is_not_tried_a_third_time() -> None:
    setting = Setting()
    setting.serve(version(1, 1), version(2, 2), version(3, 3))
    for name in "123":
        setting.workers[name].behave = lost
    with pytest.raises(Unavailable, match="lost its worker twice"):
        setting.call(within_s=30)
    assert [setting.workers[name].calls for name in "123"] == [0, 1, 1]


def test_a_client_that_left_does_not_wait() -> None:
    setting = Setting()
    setting.serve(version(1, 1))
    cancellation = Cancellation()

    def leave() -> bytes:
        cancellation.cancel()
        raise WorkerLost("gone")

    setting.workers["1"].behave = leave
    with pytest.raises(Cancelled):
        setting.call(within_s=30, cancellation=cancellation)


def test_a_retired_worker_finishes_its_calls_before_its_channel_closes() -> None:
    setting = Setting()
    setting.serve(version(1, 1))
    inside, release = threading.Event(), threading.Event()

    def slow() -> bytes:
        inside.set()
        release.wait(10)
        return b"old"

    setting.workers["1"].behave = slow
    answers: list[bytes] = []
    caller = threading.Thread(target=lambda: answers.append(setting.call()))
    caller.start()
    inside.wait(10)
    setting.serve(version(2, 2))
    assert setting.call() == b"2"
    assert not setting.workers["1"].closed
    release.set()
    caller.join()
    assert answers == [b"old"]
    assert setting.workers["1"].closed


def test_requests_in_flight_are_bounded_by_version() -> None:
    setting = Setting()
    setting.serve(version(1, 1), version(2, 2))
    release = threading.Event()
    entered = threading.Semaphore(0)

    def slow() -> bytes:
        entered.release()
        release.wait(10)
        return b""

    setting.workers["1"].behave = slow
    callers = [threading.Thread(target=setting.call, kwargs={"number": 1}) for _ in range(10)]
    for caller in callers:
        caller.start()
    for _ in callers:
        assert entered.acquire(timeout=10)
    with pytest.raises(Overloaded, match="version 1 of model m has 10 requests in flight"):
        setting.call(number=1)
    assert setting.workers["1"].refused == 1
    assert setting.call(number=2) == b"2", "another version is not concerned"
    release.set()
    for caller in callers:
        caller.join()
    assert setting.call(number=1) == b""


def test_errors_of_the_worker_pass_through() -> None:
    setting = Setting()
    setting.serve(version(1, 1))

    def refuse() -> bytes:
        raise InvalidRequest("no")

    setting.workers["1"].behave = refuse
    with pytest.raises(RequestError, match="no"):
        setting.call()
    setting.workers["1"].behave = lambda: b"fine"
    assert setting.call() == b"fine"
