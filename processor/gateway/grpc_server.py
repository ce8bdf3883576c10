"""The gRPC gateway: one server on the shared port."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from processor import control
from processor.gateway import health, inference_service, model_service, prediction_service
from processor.gateway.grpc_access import AccessInterceptor, server_credentials
from processor.gateway.grpc_calls import Forwarding
from processor.gateway.process import Gateway
from processor.gateway.reflection import SERVICE as REFLECTION
from processor.gateway.reflection import Reflection
from processor.gateway.threads import CallThreads
from processor.wire.messages import POOL

# A request in flight holds a thread; the router bounds them by version, and this by process.
_CALLS_MAX = 4096
_SPARE_THREADS = 8  # beyond those, so that a heartbeat finds one
_FLUSH_S = 0.1  # gRPC calls an answer sent when it is handed to the transport
_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


class GrpcGateway(Gateway):
    def __init__(self, client: control.ControlClient, settings: dict[str, Any]) -> None:
        super().__init__(client, settings)
        self._health = health.Health()
        self._threads = CallThreads(_CALLS_MAX + _SPARE_THREADS, "call")
        self._stopping = False
        self._serving: list[threading.Thread] = []
        self._server = self._make_server()

    def serve(self) -> None:
        before = set(threading.enumerate())
        self._server.start()
        self._serving = [thread for thread in threading.enumerate() if thread not in before]
        self.client.send({"type": "ready"})

    def beat(self, answer: Callable[[], None]) -> None:
        for thread in self._serving:
            if not thread.is_alive() and not self._stopping:
                control.end_process(thread.name, None)
        self._threads.submit(answer)

    def stop(self, grace_s: float) -> None:
        self._stopping = True
        self._health.stop()
        self._server.stop(grace_s).wait()
        self.log.close()
        self.records.close()
        time.sleep(_FLUSH_S)
        os._exit(0)

    def on_routes(self) -> None:
        """Health: overall, and of each model by its name."""
        serving = {name: self.router.is_serving(model) for name, model in self.router.models().items()}
        serving[health.OVERALL] = self.is_ready()
        statuses = health_pb2.HealthCheckResponse
        self._health.set({name: statuses.SERVING if one else statuses.NOT_SERVING for name, one in serving.items()})

    def _make_server(self) -> grpc.Server:
        bytes_max = self.settings["message_bytes_max"]
        server = grpc.server(
            self._threads,
            maximum_concurrent_rpcs=_CALLS_MAX,
            interceptors=[] if self.access.is_open else [AccessInterceptor(self.access)],
            compression=_COMPRESSIONS[self.settings["compression"]],
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", bytes_max),
                ("grpc.max_send_message_length", bytes_max),
            ],
        )
        how = Forwarding(router=self.router, records=self.records, timeout_s=self.settings["request_timeout_s"])
        services = {
            prediction_service.SERVICE: prediction_service.handlers(how),
            model_service.SERVICE: model_service.handlers(self.router, self.ask),
            inference_service.SERVICE: inference_service.handlers(how, self.signatures, self.ask, self.is_ready),
        }
        for name, handlers in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        server.add_generic_rpc_handlers((self._health.handlers(),))
        for module in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        reflection = Reflection((*services, health.SERVICE, REFLECTION))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, server)
        if self.settings["tls"] is None:
            server.add_insecure_port(self.settings["address"])
        else:
            server.add_secure_port(self.settings["address"], server_credentials(self.settings["tls"]))
        return server
