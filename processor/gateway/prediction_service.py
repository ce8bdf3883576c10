"""tensorflow.serving.PredictionService: raw bytes from the client to a worker and back."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from processor._native import Cancellation, peek_model_spec
from processor.errors import InvalidRequest, RequestError
from processor.gateway.router import Router
from processor.methods import Method
from processor.wire.status import code_of

SERVICE = "tensorflow.serving.PredictionService"

_DEADLINE_S_MAX = 30 * 24 * 3600

_METHODS = {
    "Predict": Method.PREDICT,
    "Classify": Method.CLASSIFY,
    "Regress": Method.REGRESS,
    "MultiInference": Method.MULTI_INFERENCE,
    "GetModelMetadata": Method.METADATA,
}


def handlers(router: Router, request_timeout_s: float) -> dict[str, grpc.RpcMethodHandler]:
    """The service's methods, without (de)serializers: requests and responses are bytes."""
    return {
        name: grpc.unary_unary_rpc_method_handler(_behaviour(router, method, int(request_timeout_s * 1e9)))
        for name, method in _METHODS.items()
    }


def _behaviour(router: Router, method: Method, timeout_ns: int) -> Callable[[bytes, Any], bytes]:
    # In a MultiInferenceRequest the specs are those of its tasks; the first names the model for all.
    depth = 1 if method is Method.MULTI_INFERENCE else 0

    def behave(request: bytes, context: grpc.ServicerContext) -> bytes:
        remaining_s = context.time_remaining()
        # A call without a deadline may have one in the far future instead of none.
        has_deadline = remaining_s is not None and remaining_s < _DEADLINE_S_MAX
        deadline_ns = time.monotonic_ns() + (int(remaining_s * 1e9) if has_deadline else timeout_ns)
        cancellation = Cancellation()
        if not context.add_callback(cancellation.cancel):
            return b""  # the call is over already
        try:
            model, version, label = _target(request, depth)
            return router.call(
                method, model, version, label, request, deadline_ns, may_wait=has_deadline, cancellation=cancellation
            )
        except RequestError as error:
            context.set_code(code_of(error))
            context.set_details(str(error))
            return b""

    return behave


def _target(request: bytes, depth: int) -> tuple[str, int | None, str | None]:
    spec = peek_model_spec(request, depth)
    if spec is None:
        raise InvalidRequest("the request is not a valid protobuf message")
    present, name, version, label, _ = spec
    if not present:
        raise InvalidRequest("Missing ModelSpec")
    if not name:
        raise InvalidRequest("ModelSpec has no name specified.")
    return name, version, label or None
