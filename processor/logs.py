"""Logs of all our processes: lines for people, or JSON objects for machines (CORELANE_LOG_FORMAT=json).

A process that the supervisor started writes to it; the supervisor writes on, with the process's name.
"""

import json
import logging
import os
import sys
import time

from processor.errors import StartError

_FORMAT = "CORELANE_LOG_FORMAT"
_OWN = "process"


class _Json(logging.Formatter):
    """An object a line: time (UTC), level, logger, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        found = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            found["trace"] = self.formatException(record.exc_info)
        return json.dumps(found, default=str)


def is_json() -> bool:
    """StartError for a format that there is not."""
    chosen = os.environ.get(_FORMAT, "text")
    if chosen not in ("text", "json"):
        raise StartError(f"environment variable {_FORMAT} should be text or json, not {chosen!r}")
    return chosen == "json"


def configure(text_format: str) -> None:
    """Of this process, to its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if is_json() else logging.Formatter(text_format))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def configure_child() -> None:
    """Of a process whose lines the supervisor writes on."""
    configure("%(levelname)s %(name)s: %(message)s")


def pass_on(logger: logging.Logger, name: str, line: str) -> None:
    """Writes a line of a child's on. Of JSON, the fields stay fields."""
    if is_json() and line.startswith("{"):
        try:
            found = json.loads(line)
            level, message = found.pop("level").upper(), found.pop("message")
        except (ValueError, KeyError, AttributeError):
            found, level, message = {}, "INFO", line
        fields = {**found, _OWN: name}
        logger.log(logging.getLevelNamesMapping().get(level, logging.INFO), "%s", message, extra={"fields": fields})
    elif is_json():
        logger.info("%s", line, extra={"fields": {_OWN: name}})
    else:
        logger.info("[%s] %s", name, line)
