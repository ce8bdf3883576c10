"""grpc.health.v1.Health: the status of the server and of each model, asked for or watched.

grpcio's own servicer sends under a lock. The end of a stream waits for that lock, on the thread that every send waits
for: a watcher that goes while another is told stops the server. Here nothing is sent under a lock, and a watch holds no
thread.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from processor.gateway.threads import CallThreads

SERVICE = "grpc.health.v1.Health"
OVERALL = ""

_Response = health_pb2.HealthCheckResponse
_WATCHES_MAX = 4096
_SENDERS = 16


class _Watch:
    """A stream. Guarded by the health's lock: told, sending."""

    def __init__(self, service: str, send: Callable[[Any], None]) -> None:
        self.service = service
        self.send = send
        self.told: int | None = None
        self.sending = False


class Health:
    """Thread safety: every method from any thread.

    Invariant: of a watch, one send is under way at most, and the last one tells the last status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[str, int] = {OVERALL: _Response.NOT_SERVING}
        self._watches: set[_Watch] = set()
        self._stopping = False
        # Apart from the calls' threads: a client that reads nothing holds one of these.
        self._senders: ThreadPoolExecutor = CallThreads(_SENDERS, "health")

    def handlers(self) -> grpc.GenericRpcHandler:
        def watch(request: Any, context: grpc.ServicerContext, send_response_callback: Callable[[Any], None]) -> None:
            self._watch(request.service, context, send_response_callback)

        # How grpcio is told that a stream is answered by calls and not by a generator, which would hold a thread.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        watch.experimental_thread_pool = self._senders  # type: ignore[attr-defined]
        codec = (health_pb2.HealthCheckRequest.FromString, _Response.SerializeToString)
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, *codec),
                "Watch": grpc.unary_stream_rpc_method_handler(watch, *codec),
            },
        )

    def set(self, statuses: dict[str, int]) -> None:
        """The services that there are; others are unknown, also to who watches them."""
        with self._lock:
            if self._stopping:
                return
            self._statuses = statuses
        self._tell()

    def stop(self) -> None:
        """Nothing serves from now on, and every watch ends."""
        with self._lock:
            self._stopping = True
            self._statuses = dict.fromkeys(self._statuses, _Response.NOT_SERVING)
        self._tell()

    def _check(self, request: Any, context: grpc.ServicerContext) -> Any:
        status = self._statuses.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return _Response()
        return _Response(status=status)

    def _watch(self, service: str, context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
        watch = _Watch(service, send)
        with self._lock:
            full = len(self._watches) >= _WATCHES_MAX
            if not full:
                self._watches.add(watch)
        if full:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details(f"{_WATCHES_MAX} watches are open at this gateway")
            send(None)
        elif not context.add_callback(lambda: self._forget(watch)):
            self._forget(watch)  # the client has gone
        else:
            self._send_to(watch)

    def _forget(self, watch: _Watch) -> None:
        """On the server's own thread: must wait for nothing."""
        with self._lock:
            self._watches.discard(watch)

    def _tell(self) -> None:
        with self._lock:
            due = [watch for watch in self._watches if self._due(watch) is not None and not watch.sending]
        for watch in due:
            self._senders.submit(self._send_to, watch)

    def _due(self, watch: _Watch) -> int | None:
        status = self._statuses.get(watch.service, _Response.SERVICE_UNKNOWN)
        return status if status != watch.told or self._stopping else None

    def _send_to(self, watch: _Watch) -> None:
        """Tells a watch its status until it has the newest."""
        while True:
            with self._lock:
                status = self._due(watch)
                if watch not in self._watches or watch.sending or status is None:
                    return
                watch.sending, watch.told = True, status
                last = self._stopping
                if last:
                    self._watches.discard(watch)
            watch.send(_Response(status=status))
            if last:
                watch.send(None)
            with self._lock:
                watch.sending = False
