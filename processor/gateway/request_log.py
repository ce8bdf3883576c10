"""The request log: sampled calls with their answers, as TFRecord files of PredictionLogs.

Each gateway writes files of its own, `MODEL-PID-TIME.tfrecord`; of all that are in the folder the oldest go when they
take more than is allowed. A file that is being written ends in `.partial`.
"""

import contextlib
import logging
import os
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from processor import descriptors
from processor.call import Call
from processor.errors import RequestError
from processor.methods import Method
from processor.routes import LogRoute
from processor.wire.prediction_log import to_log
from processor.wire.records import to_record

_logger = logging.getLogger(__name__)

_WAITING_MAX = 256
_FILE_BYTES = 32 << 20
_FILE_S = 600.0
_LOOK_S = 1.0


class _File:
    """Of one model, being written."""

    def __init__(self, folder: Path, model: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.started_s = time.monotonic()
        self.bytes = 0
        stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.monotonic_ns() % 10**9:09d}"
        self._final = folder / f"{model.replace('/', '_')}-{os.getpid()}-{stamp}.tfrecord"
        self._path = self._final.with_suffix(".tfrecord.partial")
        with descriptors.reserve():
            self._file: BinaryIO = self._path.open("wb")

    def write(self, record: bytes) -> None:
        self._file.write(record)
        self._file.flush()
        self.bytes += len(record)

    def close(self) -> None:
        self._file.close()
        self._path.rename(self._final)


class RequestLog:
    """Calls are written on a thread of its own; where there is no room they are counted as dropped, so that the log
    holds up nobody's answer.

    Thread safety: `record`, `take_counts` and `close` from any thread."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._waiting: queue.Queue[tuple[Call, LogRoute, bytes] | None] = queue.Queue(_WAITING_MAX)
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._files: dict[str, _File] = {}
        self._thread = threading.Thread(target=self._write_all, name="request log", daemon=True)
        self._thread.start()

    def record(self, call: Call, settings: LogRoute, answer: bytes) -> None:
        """Keeps an answered call, if it is drawn."""
        if call.method is Method.METADATA or self._draw() * 100 >= settings.percent:
            return
        try:
            self._waiting.put_nowait((call, settings, answer))
        except queue.Full:
            self._count(call.model, "dropped")

    def take_counts(self) -> list[tuple[str, str, int, str, int]]:
        """("log", model, 0, what, count) since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return [("log", model, 0, what, count) for (model, what), count in counts.items()]

    def close(self) -> None:
        """Writes what waits, and ends the files."""
        self._waiting.put(None)
        self._thread.join(10)

    def _count(self, model: str, what: str) -> None:
        with self._lock:
            self._counts[model, what] += 1

    def _write_all(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                item = self._waiting.get(timeout=_LOOK_S)
                if item is None:
                    break
                self._write(*item)
            for model, file in list(self._files.items()):
                if time.monotonic() - file.started_s > _FILE_S:
                    self._end(model)
        for model in list(self._files):
            self._end(model)

    def _write(self, call: Call, settings: LogRoute, answer: bytes) -> None:
        try:
            log = to_log(call.method, call.request, answer, int(time.time()))
            if log is None:
                return
            if call.model not in self._files:
                self._files[call.model] = _File(Path(settings.folder), call.model)
            file = self._files[call.model]
            file.write(to_record(log))
            self._count(call.model, "written")
            if file.bytes >= min(_FILE_BYTES, settings.bytes_max // 4):
                self._end(call.model)
                _trim(Path(settings.folder), call.model, settings.bytes_max)
        except (OSError, RequestError) as error:
            # The disk may be full: calls go on, and the count says how many are missing.
            self._count(call.model, "failed")
            _logger.warning("[%s] a call is not logged: %s", call.model, error)

    def _end(self, model: str) -> None:
        try:
            self._files.pop(model).close()
        except OSError as error:
            _logger.warning("[%s] a file of the request log is lost: %s", model, error)


def _trim(folder: Path, model: str, bytes_max: int) -> None:
    """Removes the oldest ended files until the rest takes no more than is allowed."""
    found = []
    for path in folder.glob(f"{model.replace('/', '_')}-*.tfrecord"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.append((stat.st_mtime_ns, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= bytes_max:
            return
        path.unlink(missing_ok=True)
        total -= size
