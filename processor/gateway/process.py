"""The gateway process: one gRPC server on the shared port."""

import gc
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from processor import control, routes
from processor.channel import SharedMemoryChannel
from processor.gateway import inference_service, model_service, prediction_service
from processor.gateway.asking import Ask
from processor.gateway.router import Router
from processor.gateway.signatures import Signatures
from processor.wire.messages import POOL

# A request in flight holds a thread; the router bounds them by version, and this by process.
_CALLS_MAX = 4096
_FLUSH_S = 0.1  # gRPC calls an answer sent when it is handed to the transport


class Gateway:
    def __init__(self, client: control.ControlClient, settings: dict[str, Any]) -> None:
        self._client = client
        self._settings = settings
        self._router = Router(lambda model, route: SharedMemoryChannel(model, route, settings["owner"]))
        self._health = health.HealthServicer(experimental_non_blocking=True)
        self._known: set[str] = set()
        self._ready = False
        self._ask = Ask(client)
        self._server = self._make_server()

    def handle(self, message: control.Message) -> None:
        """Messages from the supervisor, in order."""
        if message["type"] == "routes":
            self._router.replace(routes.from_message(message["models"]))
            self._ready = message["ready"]
            self._tell_health()
            self._client.send({"type": "routed", "epoch": message["epoch"]})
        elif message["type"] == "answer":
            self._ask.answered(message)
        elif message["type"] == "stop":
            threading.Thread(target=self._stop, args=(message["grace_s"],), name="stop", daemon=True).start()

    def start(self) -> None:
        self._server.start()
        self._client.send({"type": "ready"})

    def _make_server(self) -> grpc.Server:
        bytes_max = self._settings["message_bytes_max"]
        server = grpc.server(
            ThreadPoolExecutor(_CALLS_MAX, thread_name_prefix="call"),
            maximum_concurrent_rpcs=_CALLS_MAX,
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", bytes_max),
                ("grpc.max_send_message_length", bytes_max),
            ],
        )
        timeout_s = self._settings["request_timeout_s"]
        services = {
            prediction_service.SERVICE: prediction_service.handlers(self._router, timeout_s),
            model_service.SERVICE: model_service.handlers(self._router, self._ask),
            inference_service.SERVICE: inference_service.handlers(
                self._router, Signatures(self._router, timeout_s), self._ask, lambda: self._ready, timeout_s
            ),
        }
        for name, handlers in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for module in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server, pool=POOL
        )
        server.add_insecure_port(self._settings["address"])
        return server

    def _tell_health(self) -> None:
        statuses = health_pb2.HealthCheckResponse
        models = self._router.models()
        for name in self._known - models.keys():
            self._health.set(name, statuses.SERVICE_UNKNOWN)
        for name, model in models.items():
            serving = any(route.instance is not None for route in model.versions)
            self._health.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)
        self._known = set(models)
        self._health.set(health.OVERALL_HEALTH, statuses.SERVING if self._ready else statuses.NOT_SERVING)

    def _stop(self, grace_s: float) -> None:
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        time.sleep(_FLUSH_S)
        os._exit(0)


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    client, settings = control.connect(arguments)
    try:
        gateway = Gateway(client, settings)
    except RuntimeError as error:
        client.send({"type": "failed", "error": f"cannot listen on {settings['address']}: {error}"})
        os._exit(3)
    first = client.receive()
    if first is None:
        os._exit(1)
    gateway.handle(first)
    gc.collect()
    gc.freeze()
    gateway.start()
    client.serve(gateway.handle)
