"""The channel between gateways and one worker, as a gateway sees it.

The memory itself, and what both ends do with it, is native (`processor/native/shared_channel.h`).
"""

import os
from abc import ABC, abstractmethod

from corelane.processor._native import CallEnd, Cancellation, SharedChannel
from corelane.processor.channel.methods import Assignment
from corelane.processor.control.routes import VersionRoute
from corelane.processor.errors import Cancelled, DeadlinePassed, InvalidRequest, Overloaded
from corelane.processor.gateway.call import Call
from corelane.processor.system import descriptors
from corelane.processor.wire.status import error_of_number

__all__ = ["Cancellation", "NotConnected", "SharedMemoryChannel", "WorkerChannel", "WorkerLost", "path_of"]


class WorkerLost(Exception):
    """The worker went away before it answered. The request may have run; it has not been answered."""


class NotConnected(Exception):
    """A channel cannot be mapped: its worker has gone, or the system has no descriptor or memory for it now."""


class WorkerChannel(ABC):
    """A gateway's end."""

    @abstractmethod
    def call(self, call: Call, assignment: Assignment) -> bytes:
        """The worker's answer. Raises the RequestError it answered, Overloaded when no slot is free, DeadlinePassed
        when the deadline or the time allowed in the queue passes, Cancelled when the client hangs up, or WorkerLost.
        `assignment` is for the counts."""

    @abstractmethod
    def count_refused(self, call: Call, assignment: Assignment) -> None:
        """Counts a call that did not come here because too many are on their way."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the worker. No call may be under way."""


class SharedMemoryChannel(WorkerChannel):
    """A worker's channel. Its words are mapped into this process; requests and answers go through the descriptor, so
    that a channel takes few addresses. Thread safety: `call` from any thread."""

    def __init__(self, model: str, route: VersionRoute, owner: int) -> None:
        """`owner` is this gateway's number. NotConnected if the channel cannot be mapped."""
        self._name = f"{model}/{route.version}"
        self._owner = owner
        self._capacity = route.queue_capacity
        self._timeout_ms = route.queue_timeout_ms
        assert route.instance is not None
        try:
            with descriptors.reserve():
                descriptor = os.open(route.channel, os.O_RDWR | os.O_CLOEXEC)
                channel = SharedChannel.map(descriptor, route.instance, with_payload=False)
        except (OSError, RuntimeError) as error:
            raise NotConnected(f"cannot map the channel of {self._name}: {error}") from error
        self._channel: SharedChannel | None = channel

    def call(self, call: Call, assignment: Assignment) -> bytes:
        if self._channel is None:
            raise WorkerLost("the channel is closed")
        end, code, payload = self._channel.call(
            self._owner, call.method, call.request, call.deadline_ns, call.cancellation, call.entry, assignment
        )
        if end is CallEnd.ANSWERED:
            if code:
                raise error_of_number(code, payload.decode(errors="replace"))
            return payload
        if end is CallEnd.FULL:
            raise Overloaded(f"the queue of {self._name} is full: {self._capacity} requests wait (queue.capacity)")
        if end is CallEnd.QUEUE_TIMEOUT:
            raise DeadlinePassed(
                f"the request waited {self._timeout_ms:g} ms in the queue of {self._name} (queue.timeout_ms)"
            )
        if end is CallEnd.DEADLINE:
            raise DeadlinePassed("the deadline passed before the answer")
        if end is CallEnd.CANCELLED:
            raise Cancelled("the client hung up")
        if end is CallEnd.TOO_LARGE:
            raise InvalidRequest(f"the request of {len(call.request)} bytes is over listen.message_bytes_max")
        if end is CallEnd.NO_MEMORY:
            raise Overloaded(f"the system has no memory for a request of {len(call.request)} bytes")
        raise WorkerLost("the worker is gone, or going")

    def count_refused(self, call: Call, assignment: Assignment) -> None:
        if self._channel is not None:
            self._channel.count_refused(call.method, call.entry, assignment)

    def close(self) -> None:
        self._channel = None


def path_of(channel: SharedChannel) -> str:
    """Where other processes of this user open a channel of this process."""
    return f"/proc/{os.getpid()}/fd/{channel.descriptor}"
