"""Sessions of a native engine behind a channel, in this process: what a worker has, without the worker."""

import os
import time

from corelane.processor import _native
from corelane.processor.engines import NativeEngine

_WAITING_MAX = 64
_SESSIONS_MAX = 16
_MESSAGE_BYTES_MAX = 64 << 20


class Rig:
    """Use: `place` sessions, then `call` from any number of threads."""

    def __init__(self, engine: NativeEngine, *, round_robin: bool = False) -> None:
        self.channel = _native.SharedChannel.create(
            instance=1,
            slots=_WAITING_MAX + _SESSIONS_MAX,
            message_bytes_max=_MESSAGE_BYTES_MAX,
            queue_timeout_ns=10**12,
        )
        self._gateway = _native.SharedChannel.map(os.dup(self.channel.descriptor), 1)
        worker = _native.SharedChannel.map(os.dup(self.channel.descriptor), 1)
        handler = _native.PredictHandler(
            channel=worker,
            model=engine.model,
            signatures=[],
            settings=_native.PredictSettings(
                model="m",
                version=1,
                tensor_content=False,
                response_bytes_max=_MESSAGE_BYTES_MAX,
                tensor_bytes_max=1 << 32,
            ),
            batch_rows_max=0,
            batch_wait_ns=0,
            fallback=lambda session, method, request: (13, b"refused", None),
        )
        for _ in range(_SESSIONS_MAX):
            handler.add_session(engine.make_session())
        self._cores = sorted(os.sched_getaffinity(0))
        self._group = _native.SessionGroup(
            channel=worker,
            handler=handler,
            capacity=_WAITING_MAX,
            round_robin=round_robin,
            allowed=self._cores,
            cores_max=len(self._cores),
        )

    def place(self, sessions: int, *, pinned: bool = False) -> None:
        """Pinned: a core each, in turn."""
        cores = [[self._cores[index % len(self._cores)]] if pinned else [] for index in range(sessions)]
        problem = self._group.place([(cpus, False) for cpus in cores])
        assert problem == "", problem

    def call(self, request: bytes) -> None:
        end, code, payload = self._gateway.call(1, 1, request, time.monotonic_ns() + 10**11, _native.Cancellation())
        assert (end, code) == (_native.CallEnd.ANSWERED, 0), payload

    def sessions_cpu_ns(self) -> int:
        return sum(cpu_ns for *_, cpu_ns in self._group.sessions())

    def stop(self) -> None:
        self._group.stop()
