"""uvicorn with bounds: how many connections, how long for a request to arrive and an answer to be taken, how much of
headers. Of its own it has none of these, and a client that sends half a request is waited for without end."""

import asyncio
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_BYTES_MAX = 64 << 10
_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_WHY_FULL = b'{"error": "too many connections", "problems": ["it has as many connections as it may: try again"]}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_WHY_FULL), _WHY_FULL)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    connections_max: int
    idle_s: float  # between two requests of a connection
    headers_s: float = 20.0  # for a request's headers, from their first byte
    body_s: float = 60.0  # from there to the end of its body
    answer_s: float = 60.0  # for the client to take more of an answer that waits for it


class BoundedConfig(uvicorn.Config):
    """Logs go where the process's go. `loop` and the rest are uvicorn's."""

    def __init__(self, application: Any, bounds: Bounds, **options: Any) -> None:
        self.bounds = bounds
        super().__init__(
            application,
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=round(bounds.idle_s),
            **options,
        )


class _BoundedProtocol(HttpToolsProtocol):
    """A connection, on the loop's thread. Before the first request `_reading` is the time to begin one; between
    requests uvicorn's own timer runs."""

    config: BoundedConfig

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reading: asyncio.TimerHandle | None = None  # the headers' or the body's time
        self._writing: asyncio.TimerHandle | None = None
        self._headers_bytes = self._trailers_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.config.bounds.connections_max:
            self.transport = transport
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self._reading = self.loop.call_later(self.config.bounds.idle_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._reading)
        _stop(self._writing)
        if self.flow is not None:  # else it was one too many
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._headers_bytes += len(data)
        super().data_received(data)
        if not self._in_headers or self._headers_bytes == 0:
            return
        if self._headers_bytes > HEADERS_BYTES_MAX:
            self._refuse(_LONG)
        elif self._reading is None:  # bytes that begin no request
            self._await_reading(self.config.bounds.headers_s)

    def on_message_begin(self) -> None:
        self._await_reading(self.config.bounds.headers_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:
            self._trailers_bytes += len(name) + len(value)
            if self._trailers_bytes > HEADERS_BYTES_MAX:
                self._refuse(_LONG)
            return  # nobody reads trailers
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._headers_bytes = self._trailers_bytes = 0
        self._await_reading(self.config.bounds.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        _stop(self._reading)
        self._reading = None
        self._in_headers = True
        self._headers_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        _stop(self._writing)
        self._writing = self.loop.call_later(self.config.bounds.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _stop(self._writing)
        self._writing = None

    def _await_reading(self, timeout_s: float) -> None:
        _stop(self._reading)
        self._reading = self.loop.call_later(timeout_s, self._late)

    def _late(self) -> None:
        answers = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (self._in_headers and answers):
            # An earlier request of this connection is being answered: this one has not had its turn.
            self._await_reading(self.config.bounds.headers_s)
        else:
            self._refuse(_LATE)

    def _refuse(self, answer: bytes) -> None:
        """Ends the connection; says why, unless an answer to this request has begun."""
        if self.transport.is_closing():
            return
        if self._in_headers or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
