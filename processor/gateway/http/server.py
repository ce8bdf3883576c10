"""The HTTP gateway: an ASGI server on the shared port, on a thread of its own."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corelane.processor import control, logs
from corelane.processor.control.gateway_messages import GatewayStart, Ready
from corelane.processor.control.gateway_settings import TlsSettings
from corelane.processor.control.questions import MetricsQuestion
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.http.exchange import Exchanges, Question, Reply, failure, response_of
from corelane.processor.gateway.http.kserve_api import KServeApi
from corelane.processor.gateway.http.tensorflow_api import TensorFlowApi
from corelane.processor.gateway.http.triton_api import TritonApi
from corelane.processor.gateway.process import Gateway
from corelane.processor.system import descriptors, threads
from corelane.processor.system.http_server import BoundedConfig, Bounds
from corelane.processor.system.ports import endpoint_of

_logger = logging.getLogger(__name__)

_LOOK_S = 1.0
# A request in flight holds a thread.
_CALLS_MAX = 512
_BACKLOG = 1024
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HttpGateway(Gateway):
    def __init__(self, client: control.ControlClient, start: GatewayStart) -> None:
        super().__init__(client, start)
        settings = start.settings
        family, endpoint = endpoint_of(settings.address)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(endpoint)
        self._server = _Server(
            BoundedConfig(
                self._application(),
                Bounds(
                    connections_max=settings.connections_max or descriptors.connections_max(),
                    idle_s=settings.http_idle_s,
                    body_s=settings.request_timeout_s,
                ),
                loop="uvloop",
                log_level="warning",
                backlog=_BACKLOG,
                **_tls_options(settings.tls),
            )
        )
        self._server.config.load()  # a certificate that cannot be read is told of at the start

    def serve(self) -> None:
        if self.settings.tls is not None:
            threads.start(partial(self._follow_certificates, self.settings.tls), "certificates")
        self._socket.listen(_BACKLOG)
        threads.start(lambda: self._server.run([self._socket]), "http", may_end=lambda: self.stopping)
        self._server.began.wait()
        self.client.send(Ready())

    def stop(self, grace_s: float) -> None:
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True
        self._server.ended.wait(grace_s + 1)
        self.log.close()
        self.records.close()
        logs.flush()
        os._exit(0)

    def on_routes(self) -> None:
        return None

    def pass_beat(self, answer: Callable[[], None]) -> None:
        """By the server's loop, and from there by a thread of the calls."""
        self._server.loop.call_soon_threadsafe(self._exchanges.submit, answer)

    def _follow_certificates(self, tls: TlsSettings) -> None:
        """New connections get the files as they are. Never returns."""
        files = [tls.certificate, tls.key]
        known: list[int] | None = None
        while True:
            time.sleep(_LOOK_S)
            try:
                found = [os.stat(path).st_mtime_ns for path in files]
                if found != known and self._server.config.ssl is not None:
                    with descriptors.reserve():
                        # A context takes a certificate before it refuses the key: one of its own tries them first.
                        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files[0], files[1])
                        self._server.config.ssl.load_cert_chain(files[0], files[1])
                    known = found
            except OSError as error:  # ssl.SSLError is one
                _logger.warning("the certificate stays as it was: %s", error)

    def _application(self) -> Starlette:
        self._exchanges = exchanges = Exchanges(
            self.access,
            body_bytes_max=self.settings.message_bytes_max,
            timeout_s=self.settings.request_timeout_s,
            calls_max=_CALLS_MAX,
        )
        tensorflow = TensorFlowApi(self.router, self.signatures, self.records)
        kserve = KServeApi(self.router, self.signatures, self.records, self.ask, self.unready)
        triton = TritonApi(self.router, self.facts, self.settings.traces)
        apis = (tensorflow, triton, kserve)
        return Starlette(
            routes=[*(route for api in apis for route in api.routes(exchanges)), *self._metrics(exchanges)],
            exception_handlers={HTTPException: _malformed, Exception: _broken},
        )

    def _metrics(self, exchanges: Exchanges) -> list[Route]:
        path = self.settings.metrics_path

        def answer(question: Question) -> Reply:
            return Reply(body=self.ask(MetricsQuestion()).text.encode(), headers={"content-type": _METRICS_TYPE})

        return [] if path is None else [Route(path, exchanges.endpoint(answer), methods=["GET"])]


def _tls_options(tls: TlsSettings | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl_certfile": tls.certificate,
        "ssl_keyfile": tls.key,
        "ssl_ca_certs": tls.client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if tls.client_ca else ssl.CERT_NONE,
    }


class _Server(uvicorn.Server):
    """The supervisor handles the signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = threading.Event()
        self.began = threading.Event()
        self.loop: asyncio.AbstractEventLoop  # when it began

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.began.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
        self.ended.set()


async def _malformed(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    reply = failure(InvalidRequest(f"Malformed request: {request.method} {request.url.path}"))
    return response_of(replace(reply, status=error.status_code, headers={**reply.headers, **(error.headers or {})}))


async def _broken(request: Request, error: Exception) -> Response:
    """A fault of ours: uvicorn logs its trace."""
    return response_of(failure(error))
