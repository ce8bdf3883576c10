"""grpc.health.v1: overall, and of each model by its name.

Not grpc_health's own servicer: it holds one lock while it sends to its watchers, and needs that lock on the thread that
polls for gRPC when one hangs up, so that a watcher which reads slowly, or one that leaves while another is told, stops
the whole server."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from corelane.processor.gateway.grpc.streams import Streams

SERVICE: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OVERALL = ""

_STATUS = health_pb2.HealthCheckResponse
_WATCHES_MAX = 256


class Health:
    """Thread safety: every method from any thread. Guarded by _changed, under which nothing is sent: _statuses,
    _ending."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._statuses: dict[str, int] = {}
        self._ending = False
        self._streams = Streams("health watches", _WATCHES_MAX)

    def replace(self, statuses: Mapping[str, bool]) -> None:
        """Whether each service serves; others are unknown."""
        with self._changed:
            if not self._ending:
                self._statuses = {
                    name: _STATUS.SERVING if serves else _STATUS.NOT_SERVING for name, serves in statuses.items()
                }
                self._changed.notify_all()

    def end(self) -> None:
        """Nothing serves from now on."""
        with self._changed:
            self._statuses = dict.fromkeys(self._statuses, _STATUS.NOT_SERVING)
            self._ending = True
            self._changed.notify_all()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The service's methods."""
        forms = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": _STATUS.SerializeToString,
        }
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **forms),
            "Watch": grpc.unary_stream_rpc_method_handler(self._streams.bounded(self._watch), **forms),
        }

    def _check(self, request: Any, context: grpc.ServicerContext) -> Any:
        status = self._statuses.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return _STATUS()
        return _STATUS(status=status)

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The status as it is, and as it becomes, until the watcher goes."""
        gone = False

        def go() -> None:
            nonlocal gone
            with self._changed:
                gone = True
                self._changed.notify_all()

        if not context.add_callback(go):
            return
        told: int | None = None
        while True:
            with self._changed:
                while not gone and self._statuses.get(request.service, _STATUS.SERVICE_UNKNOWN) == told:
                    self._changed.wait()
                if gone:
                    return
                told = self._statuses.get(request.service, _STATUS.SERVICE_UNKNOWN)
            yield _STATUS(status=told)
