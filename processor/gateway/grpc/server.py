"""The gRPC gateway: one server on the shared port."""

import os
import sys
import threading
import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from corelane.processor import control, logs
from corelane.processor.control.gateway_messages import GatewayStart, Ready
from corelane.processor.gateway.grpc import health, kserve_service, model_service, prediction_service
from corelane.processor.gateway.grpc.access import AccessInterceptor, server_credentials
from corelane.processor.gateway.grpc.calls import Forwarding
from corelane.processor.gateway.grpc.reflection import SERVICE as REFLECTION
from corelane.processor.gateway.grpc.reflection import Reflection
from corelane.processor.gateway.grpc.streams import Streams
from corelane.processor.gateway.process import Gateway
from corelane.processor.system import descriptors
from corelane.processor.system.threads import ThreadPool
from corelane.processor.wire.messages import POOL

# A request in flight holds a thread; the router bounds them by version, and this by process.
_CALLS_MAX = 4096
_SPARE_THREADS = 2  # for beats, however many calls there are
_LOOK_S = 0.01
_REFLECTIONS_MAX = 32
_METADATA_BYTES, _METADATA_BYTES_MAX = 16 << 10, 64 << 10
_HANDSHAKE_MS = 20_000
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 120_000, 20_000  # whose host is gone frees its descriptor
_FLUSH_S = 0.1  # gRPC calls an answer sent when it is handed to the transport
_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def _is_polling(thread: threading.Thread) -> bool:
    """Whether the thread is in the function that it was made for, and in none that it calls: grpcio's polls gRPC's
    queue there, outside of Python. One that waits for a lock, or has ended, is elsewhere."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_back is not None and frame.f_back.f_code is threading.Thread.run.__code__


def connection_options(connections_max: int | None, ping_interval_s: float) -> list[tuple[str, int]]:
    """docs/limits.md has gRPC's defaults, and why these."""
    return [
        ("grpc.max_allowed_incoming_connections", connections_max or descriptors.connections_max()),
        ("grpc.max_concurrent_streams", _CALLS_MAX),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MAX),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", round(ping_interval_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # Ours to clients: without calls, too, and however many.
        ("grpc.http2.max_pings_without_data", 0),
    ]


class GrpcGateway(Gateway):
    def __init__(self, client: control.ControlClient, start: GatewayStart) -> None:
        super().__init__(client, start)
        self._health = health.Health()
        self._calls = ThreadPool(_CALLS_MAX + _SPARE_THREADS, "call")
        self._polls: set[threading.Thread] = set()
        self._server = self._make_server()

    def serve(self) -> None:
        before = set(threading.enumerate())
        self._server.start()
        self._polls = set(threading.enumerate()) - before
        self.client.send(Ready())

    def stop(self, grace_s: float) -> None:
        self._health.end()
        self._server.stop(grace_s).wait()
        self.log.close()
        self.records.close()
        time.sleep(_FLUSH_S)
        logs.flush()
        os._exit(0)

    def on_routes(self) -> None:
        """Health: overall, and of each model by its name."""
        statuses = {name: self.router.is_serving(model) for name, model in self.router.models().items()}
        self._health.replace({**statuses, health.OVERALL: not self.unready()})

    def pass_beat(self, answer: Callable[[], None]) -> None:
        """By a thread of the calls, when the thread that hands them their calls polls for more."""

        def beat() -> None:
            while not all(map(_is_polling, self._polls)):
                time.sleep(_LOOK_S)
            answer()

        self._calls.submit(beat)

    def _make_server(self) -> grpc.Server:
        bytes_max = self.settings.message_bytes_max
        server = grpc.server(
            self._calls,
            maximum_concurrent_rpcs=_CALLS_MAX,
            interceptors=[] if self.access.is_open else [AccessInterceptor(self.access)],
            compression=_COMPRESSIONS[self.settings.compression],
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", bytes_max),
                ("grpc.max_send_message_length", bytes_max),
                *connection_options(self.settings.connections_max, self.settings.grpc_ping_interval_s),
            ],
        )
        how = Forwarding(router=self.router, records=self.records, timeout_s=self.settings.request_timeout_s)
        for module in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        services = {
            prediction_service.SERVICE: prediction_service.handlers(how),
            model_service.SERVICE: model_service.handlers(self.router, self.ask),
            kserve_service.SERVICE: kserve_service.handlers(
                how, self.signatures, self.facts, self.ask, self.unready, self.settings.traces
            ),
            health.SERVICE: self._health.handlers(),
        }
        services[REFLECTION] = Reflection((*services, REFLECTION)).handlers(Streams("reflections", _REFLECTIONS_MAX))
        for name, handlers in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        if self.settings.tls is None:
            server.add_insecure_port(self.settings.address)
        else:
            server.add_secure_port(self.settings.address, server_credentials(self.settings.tls))
        return server
