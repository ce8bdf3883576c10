"""The channel between gateways and one worker: the interface, whatever carries it.

A gateway calls with raw request bytes and gets raw response bytes or a RequestError. Every request that `submit` takes
is answered exactly once; a worker that dies answers by its connection.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from processor.errors import RequestError
from processor.methods import Method


class WorkerLost(Exception):
    """The worker went away before it answered. The request may have run; it has not been answered."""


class Cancellation:
    """Whether the client still waits. Thread safety: `cancel` and `on_cancel` may race; the action runs once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cancelled = False
        self._action: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            action, self._action = self._action, None
        if action is not None:
            action()

    def on_cancel(self, action: Callable[[], None] | None) -> None:
        """Runs `action` when the client hangs up, or at once if it has; None takes the last one back."""
        with self._lock:
            self._action = action
            run_now = self._cancelled and action is not None
        if run_now and action is not None:
            action()


class WorkerChannel(ABC):
    """A gateway's end."""

    @abstractmethod
    def call(self, method: Method, request: bytes, deadline_ns: int, cancellation: Cancellation) -> bytes:
        """The worker's answer. Raises the RequestError it answered, DeadlinePassed when the monotonic `deadline_ns`
        passes, Cancelled when the client hangs up, or WorkerLost."""

    @abstractmethod
    def close(self) -> None:
        """Ends idle connections; calls under way end by themselves."""


@dataclass(slots=True, eq=False)
class Request:
    """A request inside a worker.

    `reply(result)` takes bytes or a RequestError; only the first call counts. `cancelled` is set by the channel when
    the gateway has gone or no longer waits.
    """

    method: Method
    payload: bytes
    deadline_ns: int
    arrived_ns: int
    send: Callable[[bytes | RequestError], None]
    cancelled: bool = False
    _answered: bool = field(default=False, init=False)

    def reply(self, result: bytes | RequestError) -> bool:
        """True if this was the answer, False if there was one already."""
        if self._answered:
            return False
        self._answered = True
        self.send(result)
        return True
