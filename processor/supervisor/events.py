"""What happened to models, versions and cores, and by whom: kept in memory and on disk, both bounded, and logged."""

import collections
import contextlib
import dataclasses
import errno
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from corelane.processor.knobs import STATE
from corelane.processor.system.cache_files import not_kept

_logger = logging.getLogger("corelane")

KEPT_MAX = 1000  # in memory
_BYTES_MAX = 1 << 20  # of a file, of which there are two: the newest lines, and those before
_TEXT_MAX = 2000
_WAITING_MAX = 1000


class Kind(StrEnum):
    STARTED = "started"
    STOPPING = "stopping"
    APPLIED = "applied"  # a manifest
    REFUSED = "refused"  # a manifest
    LOADING = "loading"
    AVAILABLE = "available"
    FAILED = "failed"  # a load
    CRASHED = "crashed"
    RETIRED = "retired"
    PROMOTED = "promoted"
    SPLIT = "split"
    ROLLED_BACK = "rolled back"
    TRAFFIC = "traffic"  # that versions cannot take, or take again
    FOLDER = "folder"  # what is wrong with a model's files
    CORES = "cores"
    GATEWAY = "gateway"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`at_s`: seconds since 1970. `model` is empty, and `version` None, for what is no model's; `by` says who asked for
    it, and is empty for what happened by itself."""

    at_s: float
    kind: Kind
    text: str
    model: str = ""
    version: int | None = None
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Event":
        """ValueError, KeyError or TypeError for what is none."""
        event = cls(**{**value, "kind": Kind(value["kind"]), "at_s": float(value["at_s"])})
        if not all(isinstance(text, str) for text in (event.text, event.model, event.by)):
            raise TypeError("texts should be texts")
        if not isinstance(event.version, int | None):
            raise TypeError("version should be a number")
        return event


class Events:
    """The newest `KEPT_MAX`.

    Thread safety: all methods from any thread; none waits for the disk. What cannot be kept on disk is said once."""

    def __init__(self, path: Path | None = None) -> None:
        """With a path, what was kept there is known again soon, and what happens is added."""
        self._path = path
        self._lock = threading.Lock()
        self._before: list[Event] = []  # of earlier starts; guarded, as is what follows
        self._events: collections.deque[Event] = collections.deque(maxlen=KEPT_MAX)
        self._waiting: queue.Queue[Event] = queue.Queue(_WAITING_MAX)
        if path is not None:
            threading.Thread(target=self._keep, args=[path], name="events", daemon=True).start()

    def note(
        self,
        kind: Kind,
        text: str,
        *,
        model: str = "",
        version: int | None = None,
        by: str = "",
        level: int | None = logging.INFO,
    ) -> None:
        """Adds an event, and logs it, unless the level is None."""
        event = Event(at_s=time.time(), kind=kind, text=text[:_TEXT_MAX], model=model, version=version, by=by)
        if level is not None:
            name = model if version is None else f"{model}/{version}"
            who = f" (by {by})" if by else ""
            _logger.log(level, "%s%s%s", f"[{name}] " if name else "", text, who)
        with self._lock:
            self._events.append(event)
        if self._path is not None:
            with contextlib.suppress(queue.Full):  # the disk hangs: memory has it
                self._waiting.put_nowait(event)

    def latest(self, count_max: int = KEPT_MAX, model: str = "", version: int | None = None) -> list[Event]:
        """The newest last; of one model, or one version of it, if that is given."""
        with self._lock:
            events: Iterable[Event] = [*self._before, *self._events]
        if model:
            events = [event for event in events if event.model == model and version in (None, event.version)]
        return list(events)[-count_max:] if count_max else []

    def _keep(self, path: Path) -> None:
        """On a thread of its own: the disk may hang."""
        failed = False
        before = read(path)
        with self._lock:
            self._before = before[-KEPT_MAX:]
        while True:
            event = self._waiting.get()
            try:
                _append(path, event)
                failed = False
            except OSError as error:
                if not failed:
                    _logger.warning("%s", not_kept("events", path.parent, error, STATE))
                failed = True


def read(path: Path) -> list[Event]:
    """What is kept in a file, and in the one before it, the newest last; lines that are damaged are left out."""
    events = []
    for file in (_older(path), path):
        try:
            with file.open("rb") as opened:
                lines = opened.read(2 * _BYTES_MAX).splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                events.append(Event.from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return events


def _append(path: Path, event: Event) -> None:
    """OSError, and the file ends with a whole line all the same."""
    line = json.dumps(event.to_json()).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size + len(line) > _BYTES_MAX:
            path.replace(_older(path))
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line  # whoever wrote last was killed
        if file.write(line) < len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
