"""Logs of all our processes: lines for people, or JSON objects for machines (CORELANE_LOG_FORMAT=json).

A process that the supervisor started writes to it; the supervisor writes on, with the process's name. Nothing waits
for a line to be written (`log_handler`), what repeats is limited (`repeats`), and what clients wrote cannot look like a
line of ours: control characters are escaped where lines are made, and a trace's lines are indented.
"""

import json
import logging
import re
import time
from typing import Any

from corelane.processor.errors import StartError
from corelane.processor.knobs import LOG_FORMAT, value
from corelane.processor.logs.handler import QueuedHandler
from corelane.processor.logs.repeats import FOREIGN, Repeats

_OWN = "process"
_OURS = ("time", "level", "message")
_STANDARD_ERROR = 2
_TRACE_INDENT = "  | "
_MESSAGE_CHARS_MAX, _TRACE_CHARS_MAX = 4000, 8000
_CHILD_FORMAT = "%(levelname)s %(name)s: %(message)s"
_CHILD_LINE = re.compile(rf"(DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: |{re.escape(_TRACE_INDENT)}")


def escaped(text: str) -> str:
    """`text` as one line: what does not print (line ends, ESC, marks that turn text around) is written out."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _cut(text: str, characters_max: int) -> str:
    """The beginning and the end of a text that is too long."""
    half = characters_max // 2
    return text if len(text) <= characters_max else f"{text[:half]} ... {text[-half:]}"


class _Text(logging.Formatter):
    """A record is one line, and one more for each of its trace's."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escaped(_cut(record.message, _MESSAGE_CHARS_MAX))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        lines = _cut(super().formatException(ei), _TRACE_CHARS_MAX).split("\n")
        return "\n".join(_TRACE_INDENT + escaped(line) for line in lines)


class _Json(logging.Formatter):
    """An object a line: time (UTC), level, logger, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage(), _MESSAGE_CHARS_MAX),
            # A process says which logger of its own it was; a model may have written some of them.
            **{name: value for name, value in getattr(record, "fields", {}).items() if name not in _OURS},
        }
        if record.exc_info:
            fields["trace"] = _cut(self.formatException(record.exc_info), _TRACE_CHARS_MAX)
        return json.dumps(fields, default=str)


def is_json() -> bool:
    """StartError for a format that there is not."""
    chosen = value(LOG_FORMAT)
    if chosen not in ("text", "json"):
        raise StartError(f"environment variable {LOG_FORMAT} should be text or json, not {chosen!r}")
    return chosen == "json"


def configure(text_format: str, *, starts: bool = True) -> None:
    """Of this process, to its standard error. Unless it `starts`, lines wait for `start`, or for `flush`."""
    formatter = _Json() if is_json() else _Text(text_format)
    handler = QueuedHandler(_STANDARD_ERROR, Repeats())
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if starts:
        handler.start()


def configure_child(*, starts: bool = True) -> None:
    """Of a process whose lines the supervisor writes on."""
    configure(_CHILD_FORMAT, starts=starts)


def start() -> None:
    """Writes what waits, and all that follows."""
    for handler in _handlers():
        handler.start()


def flush() -> None:
    """Returns when what was logged is written, or soon, if nobody reads. To be called before a process ends itself."""
    for handler in _handlers():
        handler.flush()


def _handlers() -> list[QueuedHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, QueuedHandler)]


def pass_on(logger: logging.Logger, name: str, line: str) -> None:
    """Writes a line of a child's on. Of JSON, the fields stay fields."""
    if is_json() and line.startswith("{"):
        try:
            fields = json.loads(line)
            level, message = fields.pop("level").upper(), fields.pop("message")
        except (ValueError, KeyError, AttributeError, RecursionError):
            fields, level, message = {}, "INFO", line
        fields = {**fields, _OWN: name}
        logger.log(logging.getLevelNamesMapping().get(level, logging.INFO), "%s", message, extra={"fields": fields})
    elif is_json():
        logger.info("%s", line, extra={"fields": {_OWN: name}, FOREIGN: name})
    else:
        # The child has limited its own; what its libraries write is limited here.
        extra = {} if _CHILD_LINE.match(line) else {FOREIGN: name}
        logger.info("[%s] %s", name, line, extra=extra)
