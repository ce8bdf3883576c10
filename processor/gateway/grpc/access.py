"""Access checks and limits before every gRPC call, where they are asked for; and who the server is, by TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from corelane.processor.control.gateway_settings import TlsSettings
from corelane.processor.errors import RequestError
from corelane.processor.gateway.access import Access
from corelane.processor.gateway.grpc.calls import failed
from corelane.processor.system import descriptors

# Questions that a prober or a tool without a key may ask.
# What probes ask, as by REST.
_OPEN = (
    "/grpc.health.v1.Health/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",
)
_MANAGING = (
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
)


class AccessInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Thread safety: gRPC's threads call it at once."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.unary_unary is None or details.method.startswith(_OPEN):
            return handler
        headers = dict(details.invocation_metadata)
        manages = details.method in _MANAGING

        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                client = self._access.identify(headers.get, _host_of(context.peer()), manages=manages)
                self._access.admit(client)
            except RequestError as error:
                return failed(context, error)
            try:
                return handler.unary_unary(request, context)
            finally:
                self._access.leave(client)

        return grpc.unary_unary_rpc_method_handler(behave, handler.request_deserializer, handler.response_serializer)


def server_credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    """TLS by files that may change while the server runs: every new connection gets them as they are. OSError if they
    cannot be read, ValueError if they do not fit together."""
    files = [path for path in (tls.key, tls.certificate, tls.client_ca) if path is not None]

    def mark() -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in files)

    def configuration() -> Any:
        with descriptors.reserve():
            key, certificate, *client_ca = [path.read_bytes() for path in files]
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca[0] if client_ca else None)

    known = mark()

    def newest() -> Any:
        nonlocal known
        try:
            found = mark()
            if found == known:
                return None
            changed = configuration()
        except OSError:
            return None  # half of a change: the next connection looks again
        known = found
        return changed

    return grpc.dynamic_ssl_server_credentials(
        configuration(), newest, require_client_authentication=tls.client_ca is not None
    )


def _host_of(peer: str) -> str:
    """Of "ipv4:127.0.0.1:1234" and the like, without the port: that changes with each connection."""
    return peer.rpartition(":")[0] if peer.startswith("ipv") else peer
