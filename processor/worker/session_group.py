"""A SessionGroup: session threads over one engine, and the bounded queue before them."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from processor.channel import Request
from processor.errors import Cancelled, DeadlinePassed, Overloaded, RequestError, Unavailable
from processor.histogram import Histogram

_logger = logging.getLogger(__name__)

# Runs one request on a session: (session number, request) to response bytes, or a RequestError.
Handler = Callable[[int, Request], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatistics:
    """Counts since the start. accepted = answered + failed + expired + cancelled + queued + running."""

    accepted: int
    answered: int
    failed: int
    expired: int
    cancelled: int
    rejected: int
    queued: int
    running: int
    run_us: list[int]
    total_us: list[int]


class SessionGroup:
    """Thread safety: every method from any thread. Guarded by _changed: all fields below it.

    Invariants: no more than `capacity` requests wait; each accepted request is replied to exactly once; requests of one
    session run one after another, those of one queue start in the order they came.
    """

    def __init__(
        self,
        *,
        name: str,
        sessions: int,
        capacity: int,
        timeout_ns: int,
        dispatch: str,
        handler: Handler,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._name = name
        self._capacity = capacity
        self._timeout_ns = timeout_ns
        self._handler = handler
        self._clock_ns = clock_ns
        self._changed = threading.Condition()
        # One queue for all, or one for each session.
        self._queues: list[deque[Request]] = [deque() for _ in range(sessions if dispatch == "round_robin" else 1)]
        self._next_queue = 0
        self._queued = self._running = 0
        self._accepted = self._answered = self._failed = self._expired = self._cancelled = self._rejected = 0
        self._stopping = False
        self._run_us = Histogram()
        self._total_us = Histogram()
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"session-{index}", daemon=True)
            for index in range(sessions)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request) -> None:
        """Queues a request. Overloaded at once if the queue is full, Unavailable once the group stops."""
        with self._changed:
            if self._stopping:
                raise Unavailable(f"{self._name} is being unloaded")
            if self._queued >= self._capacity:
                self._rejected += 1
                raise Overloaded(f"the queue of {self._name} is full: {self._capacity} requests wait (queue.capacity)")
            self._accepted += 1
            self._queued += 1
            self._queues[self._next_queue].append(request)
            if len(self._queues) > 1:
                self._next_queue = (self._next_queue + 1) % len(self._queues)
                self._changed.notify_all()
            else:
                self._changed.notify()

    def cancel(self, request: Request) -> None:
        """Takes a request whose client has gone out of the queue, if it still waits there."""
        with self._changed:
            if not self._remove(request):
                return
            self._cancelled += 1
        request.reply(Cancelled("the client hung up"))

    def expire(self, now_ns: int) -> int | None:
        """Answers every request that has waited too long; the time when the next one will have, or None."""
        late: list[Request] = []
        with self._changed:
            for queue in self._queues:
                while queue and queue[0].arrived_ns + self._timeout_ns <= now_ns:
                    late.append(queue.popleft())
            self._queued -= len(late)
            self._expired += len(late)
            due = [queue[0].arrived_ns + self._timeout_ns for queue in self._queues if queue]
        for request in late:
            request.reply(self._waited_too_long())
        return min(due, default=None)

    def stop(self) -> None:
        """Runs what is queued, takes nothing more, and returns when the sessions have ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def statistics(self) -> GroupStatistics:
        with self._changed:
            return GroupStatistics(
                accepted=self._accepted,
                answered=self._answered,
                failed=self._failed,
                expired=self._expired,
                cancelled=self._cancelled,
                rejected=self._rejected,
                queued=self._queued,
                running=self._running,
                run_us=self._run_us.counts(),
                total_us=self._total_us.counts(),
            )

    def check_integrity(self) -> None:
        with self._changed:
            assert self._queued == sum(len(queue) for queue in self._queues)
            assert 0 <= self._queued <= self._capacity
            ended = self._answered + self._failed + self._expired + self._cancelled
            assert self._accepted == ended + self._queued + self._running

    def _remove(self, request: Request) -> bool:
        for queue in self._queues:
            if request in queue:
                queue.remove(request)
                self._queued -= 1
                return True
        return False

    def _waited_too_long(self) -> DeadlinePassed:
        waited_ms = self._timeout_ns / 1e6
        return DeadlinePassed(f"the request waited {waited_ms:g} ms in the queue of {self._name} (queue.timeout_ms)")

    def _take(self, index: int) -> Request | None:
        queue = self._queues[index % len(self._queues)]
        with self._changed:
            while not queue:
                if self._stopping:
                    return None
                self._changed.wait()
            self._queued -= 1
            self._running += 1
            return queue.popleft()

    def _run(self, index: int) -> None:
        while (request := self._take(index)) is not None:
            started_ns = self._clock_ns()
            outcome = self._answer(index, request, started_ns)
            ended_ns = self._clock_ns()
            with self._changed:
                self._running -= 1
                if outcome == "answered":
                    self._answered += 1
                    self._run_us.add((ended_ns - started_ns) // 1000)
                    self._total_us.add((ended_ns - request.arrived_ns) // 1000)
                elif outcome == "failed":
                    self._failed += 1
                elif outcome == "expired":
                    self._expired += 1
                else:
                    self._cancelled += 1

    def _answer(self, index: int, request: Request, started_ns: int) -> str:
        if request.cancelled:
            request.reply(Cancelled("the client hung up"))
            return "cancelled"
        if request.deadline_ns <= started_ns:
            request.reply(DeadlinePassed("the deadline passed while the request waited"))
            return "expired"
        if request.arrived_ns + self._timeout_ns <= started_ns:
            request.reply(self._waited_too_long())
            return "expired"
        try:
            request.reply(self._handler(index, request))
        except RequestError as error:
            request.reply(error)
            return "failed"
        except Exception as error:
            # A fault of ours: the client gets an answer, the log gets the trace.
            _logger.exception("%s failed on a request", self._name)
            request.reply(RequestError(f"internal error in {self._name}: {type(error).__name__}: {error}"))
            return "failed"
        return "answered"
