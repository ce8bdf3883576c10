"""The end of every log line: a bounded queue, and a thread that writes. A standard error that nobody reads costs lines,
never a call."""

import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable

from corelane.processor.logs.repeats import Repeats

LINES_MAX = 4096
_LOOK_S = 1.0
_FLUSH_S = 2.0


class QueuedHandler(logging.Handler):
    """Writes lines to a descriptor, on a thread of its own. What finds the queue full is dropped and counted; a line
    says how many, once there is room again.

    Thread safety: all methods from any thread, but `start` and the first `flush` from one. Invariant: `emit` never
    waits for the descriptor."""

    def __init__(
        self,
        descriptor: int,
        repeats: Repeats | None = None,
        *,
        lines_max: int = LINES_MAX,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._repeats = repeats
        self._clock_s = clock_s
        self._lines: queue.Queue[bytes] = queue.Queue(lines_max)
        self._count_lock = threading.Lock()
        self._dropped = 0  # guarded by the lock
        self._told_s = clock_s()  # the thread's
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Lines are written from now on; until then they wait: a process may be contained before it has threads."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
            self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        notes = [] if self._repeats is None else self._repeats.due(self._clock_s())
        passes = self._repeats is None or self._repeats.passes(record, self._clock_s())
        for line in [*notes, record] if passes else notes:
            self._put(line)

    def flush(self, timeout_s: float = _FLUSH_S) -> None:
        """Returns when what was logged before is written, or after `timeout_s`."""
        self.start()
        end_s = time.monotonic() + timeout_s
        with self._lines.all_tasks_done:
            while self._lines.unfinished_tasks:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return
                self._lines.all_tasks_done.wait(left_s)

    def _put(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # a fault of whoever logged: the log goes on
            line = f"ERROR a line of {record.name} cannot be written: {type(error).__name__}"
        try:
            self._lines.put_nowait(line.encode(errors="backslashreplace") + b"\n")
        except queue.Full:
            with self._count_lock:
                self._dropped += 1

    def _write_all(self) -> None:
        while True:
            try:
                line = self._lines.get(timeout=_LOOK_S)
            except queue.Empty:
                self._tell_repeats()
                continue
            is_written = self._write(line)
            if not is_written or self._dropped:
                self._count_dropped(not is_written)
            self._lines.task_done()

    def _tell_repeats(self) -> None:
        if self._repeats is None:
            return
        self.acquire()
        try:
            for record in self._repeats.due(self._clock_s()):
                self._put(record)
        finally:
            self.release()

    def _count_dropped(self, is_lost: bool) -> None:
        """Says how many were dropped when the queue is empty again, and once a second while it is not."""
        now_s = self._clock_s()
        with self._count_lock:
            self._dropped += is_lost
            if is_lost or not (self._lines.empty() or now_s - self._told_s > _LOOK_S):
                return
            dropped, self._dropped, self._told_s = self._dropped, 0, now_s
        words = "%d lines dropped: standard error was not read fast enough"
        record = logging.LogRecord("log", logging.WARNING, __file__, 0, words, (dropped,), None)
        if not self._write(self.format(record).encode() + b"\n"):
            with self._count_lock:
                self._dropped += dropped

    def _write(self, line: bytes) -> bool:
        """Waits for as long as it takes. False if the descriptor takes no more: its reader ended, the disk is full."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # whoever shares it chose so
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True
