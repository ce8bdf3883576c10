"""tensorflow.serving.PredictionService: raw bytes from the client to a worker and back."""

import functools

import grpc

from corelane.processor._native import peek_model_spec
from corelane.processor.channel.methods import Method
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.grpc.calls import Forwarding, Target, forwarding

SERVICE = "tensorflow.serving.PredictionService"

_METHODS = {
    "Predict": Method.PREDICT,
    "Classify": Method.CLASSIFY,
    "Regress": Method.REGRESS,
    "MultiInference": Method.MULTI_INFERENCE,
    "GetModelMetadata": Method.METADATA,
}


def handlers(how: Forwarding) -> dict[str, grpc.RpcMethodHandler]:
    """The service's methods, without (de)serializers: requests and responses are bytes."""
    return {
        name: grpc.unary_unary_rpc_method_handler(
            # In a MultiInferenceRequest the specs are those of its tasks; the first names the model for all.
            forwarding(how, method, functools.partial(_target, depth=method is Method.MULTI_INFERENCE))
        )
        for name, method in _METHODS.items()
    }


def _target(request: bytes, depth: int) -> Target:
    spec = peek_model_spec(request, depth)
    if spec is None:
        raise InvalidRequest("the request is not a valid protobuf message")
    present, name, version, label, _ = spec
    if not present:
        raise InvalidRequest("Missing ModelSpec")
    if not name:
        raise InvalidRequest("ModelSpec has no name specified.")
    return name, version, label or None
