"""A channel with sessions behind it, in this process: both ends as gateways and workers use them."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from corelane.processor import _native
from corelane.processor.channel.gateway_end import SharedMemoryChannel, WorkerChannel, path_of
from corelane.processor.channel.methods import Assignment, Method
from corelane.processor.control.routes import VersionRoute
from corelane.processor.gateway.call import Call

MESSAGE_BYTES_MAX = 1 << 24
INSTANCE = 7

# (session, method, request) to (code, answer)
Answer = Callable[[int, int, bytes], tuple[int, bytes]]


def soon(seconds: float = 20) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def ask(
    gateway: WorkerChannel,
    request: bytes,
    method: Method = Method.PREDICT,
    deadline_ns: int | None = None,
    cancellation: _native.Cancellation | None = None,
) -> bytes:
    """A call as a gateway makes it; it has twenty seconds, unless told."""
    call = Call(
        method=method,
        model="m",
        request=request,
        deadline_ns=deadline_ns or soon(),
        cancellation=cancellation or _native.Cancellation(),
    )
    return gateway.call(call, Assignment.NAMED)


def placements(count: int) -> list[tuple[list[int], bool]]:
    return [([], False)] * count


class Rig:
    """A supervisor's mapping (`channel`), a worker's with a native group, and gateways' by `gateway`."""

    def __init__(
        self,
        answer: Answer = lambda session, method, request: (0, request[::-1]),
        *,
        sessions: int = 1,
        sessions_max: int = 4,
        capacity: int = 3,
        queue_timeout_s: float = 60,
        round_robin: bool = False,
        model: Any = None,
        batch_rows_max: int = 0,
        batch_wait_ns: int = 0,
        tensor_content: bool = False,
    ) -> None:
        self.capacity = capacity
        self.channel = _native.SharedChannel.create(
            instance=INSTANCE,
            slots=capacity + sessions_max,
            message_bytes_max=MESSAGE_BYTES_MAX,
            queue_timeout_ns=int(queue_timeout_s * 1e9),
        )
        self.worker = _native.SharedChannel.map(os.dup(self.channel.descriptor), INSTANCE)
        handler = _native.PredictHandler(
            channel=self.worker,
            model=model,
            signatures=[],
            settings=_native.PredictSettings(
                model="m",
                version=1,
                tensor_content=tensor_content,
                response_bytes_max=MESSAGE_BYTES_MAX,
                tensor_bytes_max=4 * MESSAGE_BYTES_MAX,
            ),
            batch_rows_max=batch_rows_max,
            batch_wait_ns=batch_wait_ns,
            fallback=lambda session, method, request: (*answer(session, method, request), None),
        )
        for _ in range(sessions_max):
            handler.add_session(None if model is None else model.make_session())
        self.group = _native.SessionGroup(
            channel=self.worker,
            handler=handler,
            capacity=capacity,
            round_robin=round_robin,
            allowed=sorted(os.sched_getaffinity(0)),
            cores_max=os.cpu_count() or 1,
        )
        assert self.group.place(placements(sessions)) == ""

    def gateway(self, owner: int = 1) -> SharedMemoryChannel:
        route = VersionRoute(
            version=1,
            state="AVAILABLE",
            instance=INSTANCE,
            channel=path_of(self.channel),
            queue_capacity=self.capacity,
            queue_timeout_ms=100,
        )
        return SharedMemoryChannel("m", route, owner)

    def stop(self) -> None:
        self.group.stop()
        assert self.channel.check_integrity() == ""


class Gate:
    """Answers requests in capitals, each when the gate is open; keeps who ran what, in order."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.order: list[tuple[int, str]] = []

    def __call__(self, session: int, method: int, request: bytes) -> tuple[int, bytes]:
        self.order.append((session, request.decode()))
        self.started.release()
        self.open.wait(10)
        return 0, request.upper()


class Callers:
    """Calls under way, each on a thread, and what became of them."""

    def __init__(self, gateway: SharedMemoryChannel, rig: Rig) -> None:
        self._gateway = gateway
        self._rig = rig
        self.results: dict[str, bytes | Exception] = {}
        self.threads: list[threading.Thread] = []

    def call(self, name: str, deadline_ns: int | None = None, cancellation: _native.Cancellation | None = None) -> None:
        """Returns when the request is in the channel, or has ended."""

        def run() -> None:
            try:
                self.results[name] = ask(
                    self._gateway, name.encode(), deadline_ns=deadline_ns, cancellation=cancellation
                )
            except Exception as error:
                self.results[name] = error

        before = self._accepted()
        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        while self._accepted() == before and thread.is_alive():
            time.sleep(0.0002)

    def _accepted(self) -> int:
        return int(self._rig.channel.statistics()["accepted"])

    def join(self) -> None:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive(), "a call that never ends"
