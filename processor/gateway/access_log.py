"""A line for each call, or for each that failed, with an id that the client may choose: `x-request-id`."""

import logging
import re
import time
import uuid

from processor.errors import RequestError
from processor.methods import Entry, Method
from processor.wire.status import code_of

REQUEST_ID = "x-request-id"

_logger = logging.getLogger("access")
_GOOD_ID = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)


class AccessLog:
    """`mode`: none, errors or all. Thread safety: every method from any thread."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    @property
    def is_on(self) -> bool:
        return self._mode != "none"

    def write(
        self,
        *,
        request_id: str,
        entry: Entry,
        method: Method,
        model: str,
        asked: int | str | None,
        peer: str,
        started_s: float,
        error: RequestError | None,
    ) -> None:
        """Of a call that has ended; `asked` is the version or label that it named."""
        if self._mode == "none" or (self._mode == "errors" and error is None):
            return
        code = "OK" if error is None else code_of(error).name
        took_ms = round((time.perf_counter() - started_s) * 1000, 3)
        fields = {
            "request_id": request_id,
            "entry": entry.name.lower(),
            "method": method.name.lower(),
            "model": model,
            "asked": asked,
            "peer": peer,
            "code": code,
            "ms": took_ms,
            "error": None if error is None else str(error)[:500],
        }
        words = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        _logger.info("%s", words, extra={"fields": fields})


def id_of(given: str | None) -> str:
    """The client's id, if it is one that may stand in a log; else a new one."""
    return given if given is not None and _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
