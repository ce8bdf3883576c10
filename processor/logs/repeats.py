"""Warnings that repeat are limited: a full disk says so with every call, and the log must not fill what is left."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_WINDOW_S = 60.0
_SAME_TEXT_MAX = 10
_SAME_KIND_MAX = 300
_KINDS_MAX = 1024
_TEXT_CHARS_MAX = 500
_NOTE = "%s (and %d more like it in a minute)"
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")

# Set as an attribute of records that any level of them is limited: lines that a process wrote without our logging.
FOREIGN = "foreign"


@dataclass(slots=True)
class _Kind:
    logger: str
    level: int
    text: str  # of the first
    fields: dict[str, Any] | None
    began_s: float
    passed: int = 0
    withheld: int = 0


class Repeats:
    """Counts records by their text without its numbers, and by the message that they were made of. In a minute ten of
    one text pass, and three hundred of one message; a note says how many more there were.

    It looks at warnings and errors, and at lines that are FOREIGN. Thread safety: none."""

    def __init__(self, *, same_text_max: int = _SAME_TEXT_MAX, same_kind_max: int = _SAME_KIND_MAX) -> None:
        self._same_text_max = same_text_max
        self._same_kind_max = same_kind_max
        self._kinds: dict[tuple[str, ...], _Kind] = {}
        self._due_s = float("inf")

    def passes(self, record: logging.LogRecord, now_s: float) -> bool:
        origin = getattr(record, FOREIGN, None)
        if record.levelno < logging.WARNING and origin is None:
            return True
        text = _NUMBERS.sub("0", record.getMessage())[:_TEXT_CHARS_MAX]
        kind = self._kind(("kind", record.name, str(origin) if origin else str(record.msg)), record, now_s)
        same = self._kind(("text", record.name, text), record, now_s)
        if kind.passed >= self._same_kind_max:
            kind.withheld += 1
            return False
        if same.passed >= self._same_text_max:
            same.withheld += 1
            return False
        kind.passed += 1
        same.passed += 1
        return True

    def due(self, now_s: float) -> list[logging.LogRecord]:
        """A note of each kind whose minute is over and of which some did not pass."""
        if now_s < self._due_s:
            return []
        notes = list(self._end([key for key, kind in self._kinds.items() if now_s - kind.began_s >= _WINDOW_S]))
        self._due_s = min((kind.began_s for kind in self._kinds.values()), default=float("inf")) + _WINDOW_S
        return notes

    def _kind(self, key: tuple[str, ...], record: logging.LogRecord, now_s: float) -> _Kind:
        if key not in self._kinds:
            withheld = 0
            if len(self._kinds) >= _KINDS_MAX:
                # The oldest is forgotten; what it withheld is counted with this one.
                withheld = self._kinds.pop(next(iter(self._kinds))).withheld
            text = record.getMessage()[:_TEXT_CHARS_MAX]
            fields = getattr(record, "fields", None)
            self._kinds[key] = _Kind(record.name, record.levelno, text, fields, now_s, withheld=withheld)
            self._due_s = min(self._due_s, now_s + _WINDOW_S)
        return self._kinds[key]

    def _end(self, keys: list[tuple[str, ...]]) -> Iterator[logging.LogRecord]:
        for key in keys:
            kind = self._kinds.pop(key)
            if not kind.withheld:
                continue
            arguments = (kind.text, kind.withheld)
            note = logging.LogRecord(kind.logger, kind.level, __file__, 0, _NOTE, arguments, None)
            if kind.fields is not None:
                note.fields = kind.fields
            yield note
