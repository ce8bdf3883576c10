"""The newest lines of the log, in memory, for whoever asks by the admin API."""

import itertools
import logging
import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from corelane.processor.logs.lines import escaped

KEPT_MAX = 5000
_CHARACTERS_MAX = 1 << 22  # of all together
_LINE_CHARACTERS_MAX = 4000
_PREFIX = re.compile(r"\[([^\]]{1,300})\] ")


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts the lines since the start; `origin` is the process, or the model or version, that it is of."""

    number: int
    at_s: float
    level: str
    origin: str
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "at_s": self.at_s, "level": self.level, "text": self.text}


class LogLines(logging.Handler):
    """Thread safety: all methods from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=KEPT_MAX)
        self._characters = 0
        self._numbers = itertools.count(1)
        self._reading = threading.Lock()  # guards what is above; logging holds its own around emit

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        origin = getattr(record, "fields", {}).get("process", "")
        if found := _PREFIX.match(text):
            origin = found[1]
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        text = escaped(text[:_LINE_CHARACTERS_MAX])
        with self._reading:
            if len(self._lines) == KEPT_MAX:
                self._drop()
            self._lines.append(Line(next(self._numbers), record.created, record.levelname, origin, text))
            self._characters += len(text)
            while self._characters > _CHARACTERS_MAX:
                self._drop()

    def latest(self, limit: int, model: str = "", version: int | None = None, after: int = 0) -> list[Line]:
        """The newest last, of those behind number `after`; of one model and its versions, or one of them, if given."""
        with self._reading:
            lines = [line for line in self._lines if line.number > after]
        if model:
            names = re.compile(re.escape(model) + (r"(/\d+)?" if version is None else f"/{version}"))
            lines = [line for line in lines if names.fullmatch(line.origin)]
        return lines[-limit:] if limit else []

    def _drop(self) -> None:
        self._characters -= len(self._lines.popleft().text)
