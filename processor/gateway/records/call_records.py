"""What is written down of calls: a line in the access log, a span of a trace; with an id that the client may choose,
`x-request-id`."""

import logging
import re
import time
import uuid

from corelane.processor.channel.methods import Entry, Method
from corelane.processor.gateway.records.traces import Headers, Traces
from corelane.processor.wire.status import code_of

REQUEST_ID = "x-request-id"

_logger = logging.getLogger("access")
_GOOD_ID = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)


class CallRecords:
    """`mode`, of the log: none, errors or all. Thread safety: every method from any thread."""

    def __init__(self, mode: str, traces: Traces | None = None) -> None:
        self._mode = mode
        self._traces = traces

    @property
    def is_on(self) -> bool:
        """Whether anything is written at all: ask before gathering it."""
        return self._mode != "none" or self._traces is not None

    def write(
        self,
        *,
        headers: Headers,
        entry: Entry,
        method: Method,
        model: str,
        asked: int | str | None,
        peer: str,
        started_s: float,
        error: Exception | None,
    ) -> None:
        """Of a call that has ended; `asked` is the version or label that it named, `started_s` by
        `time.perf_counter`."""
        took_s = time.perf_counter() - started_s
        request_id = id_of(headers(REQUEST_ID))
        if self._traces is not None:
            now_ns = time.time_ns()
            self._traces.write(
                headers=headers,
                request_id=request_id,
                entry=entry,
                method=method,
                model=model,
                asked=asked,
                started_ns=now_ns - int(took_s * 1e9),
                ended_ns=now_ns,
                error=error,
            )
        if self._mode == "none" or (self._mode == "errors" and error is None):
            return
        code = "OK" if error is None else code_of(error).name
        fields = {
            "request_id": request_id,
            "entry": entry.name.lower(),
            "method": method.name.lower(),
            "model": model,
            "asked": asked,
            "peer": peer,
            "code": code,
            "ms": round(took_s * 1000, 3),
            "error": None if error is None else str(error)[:500],
        }
        words = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        _logger.info("%s", words, extra={"fields": fields})

    def close(self) -> None:
        """Sends what waits."""
        if self._traces is not None:
            self._traces.close()


def id_of(given: str | None) -> str:
    """The client's id, if it is one that may stand in a log; else a new one."""
    return given if given is not None and _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
