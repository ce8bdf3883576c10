"""The request log: sampled calls with their answers, as TFRecord files of PredictionLogs.

Each gateway writes files of its own (`log_files` names them); of a model's files in the folder the oldest go when they
take more than is allowed.
"""

import contextlib
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from corelane.processor.channel.methods import Method
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.control.routes import LogRoute
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.records import log_files
from corelane.processor.system import descriptors
from corelane.processor.wire.prediction_log import to_log
from corelane.processor.wire.records import to_record

_logger = logging.getLogger(__name__)

_WAITING_MAX = 256
_FILE_BYTES = 32 << 20
_LOOK_S = 1.0


class _File:
    """Of one model, being written: whole records at any time."""

    def __init__(self, folder: Path, model: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.started_s = time.monotonic()
        self.bytes = 0
        log_files.end_abandoned(folder, model)
        self._final = log_files.new_path(folder, model)
        self._path = self._final.with_name(self._final.name + log_files.PARTIAL)
        with descriptors.reserve():
            self._file = self._path.open("wb", buffering=0)

    def write(self, record: bytes) -> None:
        """OSError leaves the file as it was."""
        left = memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.seek(self.bytes)
            self._file.truncate()
            raise
        self.bytes += len(record)

    def close(self) -> None:
        self._file.close()
        if self.bytes:
            self._path.rename(self._final)
        else:
            self._path.unlink()


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
        self._failing: Counter[str] = Counter()  # calls in a row that are not logged, by model
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

    def take_counts(self) -> list[Count]:
        """Of kind LOG, since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return [
            Count(kind=CountKind.LOG, model=model, outcome=outcome, number=number)
            for (model, outcome), number in counts.items()
        ]

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
                if time.monotonic() - file.started_s > log_files.FILE_S:
                    self._end(model)
        for model in list(self._files):
            self._end(model)

    def _write(self, call: Call, settings: LogRoute, answer: bytes) -> None:
        """Whatever happens, calls go on, and the count says how many are missing; the log says so once."""
        model = call.model
        try:
            log = to_log(call.method, call.request, answer, int(time.time()))
            if log is None:
                return
            if model not in self._files:
                self._files[model] = _File(Path(settings.folder), model)
            file = self._files[model]
            file.write(to_record(log))
            self._count(model, "written")
            if missing := self._failing.pop(model, 0):
                _logger.info("[%s] calls are logged again; %d are missing", model, missing)
            if file.bytes >= min(_FILE_BYTES, settings.bytes_max // 4):
                self._end(model)
                log_files.trim(Path(settings.folder), model, settings.bytes_max)
        except Exception as error:  # the thread is all models'
            self._count(model, "failed")
            if not self._failing[model]:
                mend = f": {settings.folder} should have room and be writable (request_log.folder)"
                _logger.warning(
                    "[%s] calls are not logged: %s%s", model, error, mend if isinstance(error, OSError) else ""
                )
            self._failing[model] += 1

    def _end(self, model: str) -> None:
        try:
            self._files.pop(model).close()
        except OSError as error:
            _logger.warning("[%s] a file of the request log is lost: %s", model, error)
