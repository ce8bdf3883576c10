"""A worker's SessionGroup: native session threads over one channel, and what they answer with.

The threads, the queue and the path of a Predict request are C++ (`processor/native/session_group.h`). Python answers
other calls, what the native path refuses, and all calls of an engine that is not native.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corelane.processor import _native
from corelane.processor.channel.methods import Method
from corelane.processor.control.worker_spec import SessionPlacement, WorkerSpec
from corelane.processor.engines import Engine, NativeEngine
from corelane.processor.errors import LoadError, OutOfMemory, RequestError
from corelane.processor.serving.inference import Inference
from corelane.processor.serving.validation import DECODED_FACTOR
from corelane.processor.wire.status import number_of

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """A session as it is; `thread` is the kernel's number of it."""

    placement: SessionPlacement
    thread: int
    cpu_s: float


class SessionGroup:
    """Thread safety: `place` from one thread at a time, the rest from any.

    Invariants: no request is lost when sessions change; a session that is removed or paused finishes what it runs."""

    def __init__(
        self,
        *,
        spec: WorkerSpec,
        engine: Engine,
        sessions: list[Any],
        channel: _native.SharedChannel,
        allowed: Sequence[int],
        cores_max: int,
        gate: _native.PoolGate | None = None,
        member: int = 0,
    ) -> None:
        """`sessions` are the engine's, already warm. Pins must be among the `allowed` cores, of which the sessions use
        `cores_max` at most. `gate` is the pool's, of which this group is `member`."""
        self._name = spec.name
        self._engine = engine
        self._sessions = list(sessions)
        self._inference = Inference(
            engine=engine,
            model=spec.model,
            version=spec.version,
            message_bytes_max=spec.message_bytes_max,
            tensor_content=spec.tensor_content,
            checks_method=spec.checks_method,
        )
        self._numbers = {name: number for number, name in enumerate(engine.signatures())}
        self._handler = _native.PredictHandler(
            channel=channel,
            model=engine.model if isinstance(engine, NativeEngine) else None,
            signatures=list(self._numbers),
            settings=_native.PredictSettings(
                model=spec.model,
                version=spec.version,
                tensor_content=spec.tensor_content,
                response_bytes_max=spec.message_bytes_max,
                tensor_bytes_max=DECODED_FACTOR * spec.message_bytes_max,
            ),
            batch_rows_max=spec.batch_rows_max,
            batch_wait_ns=int(spec.batch_wait_us * 1000),
            fallback=self._answer,
        )
        for session in self._sessions:
            self._hand_over(session)
        self._group = _native.SessionGroup(
            channel=channel,
            handler=self._handler,
            capacity=spec.queue_capacity,
            round_robin=spec.dispatch == "round_robin",
            allowed=list(allowed),
            cores_max=cores_max,
            gate=gate,
            member=member,
        )

    def place(self, placements: Sequence[SessionPlacement], *, shares: bool = False) -> None:
        """Makes the sessions be these: adds, removes, pauses, wakes and pins; if it `shares`, a request runs when the
        pool's gate lets it. LoadError, and no change, for a core that this process may not use or more sessions than
        the channel has room for."""
        while len(self._sessions) < len(placements):
            session = self._engine.make_session()
            self._sessions.append(session)
            self._hand_over(session)
        placed = [(list(placement.cpus), placement.paused) for placement in placements]
        problem = self._group.place(placed, shares)
        if problem:
            raise LoadError(problem)

    def sessions(self) -> list[SessionReport]:
        return [
            SessionReport(
                placement=SessionPlacement(cpus=tuple(cpus), paused=paused), thread=thread, cpu_s=cpu_ns / 1e9
            )
            for thread, cpus, paused, cpu_ns in self._group.sessions()
        ]

    def signatures(self) -> bytes:
        """The version's signatures, as a GetModelMetadataResponse."""
        data: bytes = self._inference.describe().SerializeToString()
        return data

    def longest_run_s(self) -> float:
        """Of the runs under way; 0 if there is none. Never waits for a session."""
        return float(self._group.longest_run_ns() / 1e9)

    def stop(self) -> None:
        """Ends the sessions, each after what it runs."""
        self._group.stop()

    def _hand_over(self, session: Any) -> None:
        self._handler.add_session(session if isinstance(self._engine, NativeEngine) else None)

    def _answer(self, number: int, method: int, payload: bytes) -> tuple[int, bytes, int | None]:
        """On session `number`'s thread: the code of an answer, its bytes or the message of its error, and the number of
        the signature that ran, if one did."""
        signature: int | None = None

        def ran(name: str) -> None:
            nonlocal signature
            signature = self._numbers[name]

        try:
            return 0, self._inference.handle(self._sessions[number], Method(method), payload, ran), signature
        except MemoryError:
            lacking = OutOfMemory("there is no memory for this request: send less at once, or raise memory_bytes_max")
            return number_of(lacking), str(lacking).encode(), signature
        except RequestError as error:
            return number_of(error), str(error).encode(errors="backslashreplace"), signature
        except Exception as error:
            # A fault of ours: the client gets an answer, the log gets the trace.
            _logger.exception("%s failed on a request", self._name)
            text = f"internal error in {self._name}: {type(error).__name__}: {error}"
            return number_of(error), text.encode(errors="backslashreplace"), signature
