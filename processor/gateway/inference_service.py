"""inference.GRPCInferenceService: KServe's Open Inference Protocol beside TensorFlow Serving's, on the same port."""

from collections.abc import Callable

import grpc

from processor._native import peek_infer_target
from processor.errors import InvalidRequest
from processor.gateway import open_inference
from processor.gateway.asking import Ask
from processor.gateway.grpc_calls import Forwarding, Target, answering, answering_in_time, forwarding
from processor.gateway.signatures import Signatures
from processor.methods import Entry, Method
from processor.version import VERSION
from processor.wire import messages

SERVICE = "inference.GRPCInferenceService"


def handlers(
    how: Forwarding, signatures: Signatures, ask: Ask, is_ready: Callable[[], bool]
) -> dict[str, grpc.RpcMethodHandler]:
    """The service's methods, without (de)serializers: requests and responses are bytes."""
    router = how.router

    def model_ready(data: bytes) -> object:
        request = messages.parse(messages.ModelReadyRequest, data)
        return messages.ModelReadyResponse(ready=open_inference.is_ready(router, request.name, request.version))

    def model_metadata(data: bytes) -> object:
        request = messages.parse(messages.ModelMetadataRequest, data)
        return open_inference.model_metadata(router, signatures, request.name, request.version, Entry.GRPC)

    def index(data: bytes) -> object:
        request = messages.parse(messages.RepositoryIndexRequest, data)
        return open_inference.repository_index(router, request.ready)

    def load(data: bytes, timeout_s: float | None) -> object:
        request = messages.parse(messages.RepositoryModelLoadRequest, data)
        if request.parameters:
            raise InvalidRequest("loads with parameters are not offered; the manifest configures models")
        ask("load", request.model_name, timeout_s)
        return messages.RepositoryModelLoadResponse()

    def unload(data: bytes, timeout_s: float | None) -> object:
        request = messages.parse(messages.RepositoryModelUnloadRequest, data)
        ask("unload", request.model_name, timeout_s)
        return messages.RepositoryModelUnloadResponse()

    behaviours = {
        "ServerLive": answering(lambda data: messages.ServerLiveResponse(live=True)),
        "ServerReady": answering(lambda data: messages.ServerReadyResponse(ready=is_ready())),
        "ModelReady": answering(model_ready),
        "ServerMetadata": answering(
            lambda data: messages.ServerMetadataResponse(
                name=open_inference.SERVER_NAME, version=VERSION, extensions=open_inference.EXTENSIONS
            )
        ),
        "ModelMetadata": answering(model_metadata),
        "ModelInfer": forwarding(how, Method.INFER, _target),
        "RepositoryIndex": answering(index),
        "RepositoryModelLoad": answering_in_time(load),
        "RepositoryModelUnload": answering_in_time(unload),
    }
    return {name: grpc.unary_unary_rpc_method_handler(behave) for name, behave in behaviours.items()}


def _target(request: bytes) -> Target:
    found = peek_infer_target(request)
    if found is None:
        raise InvalidRequest("the request is not a valid protobuf message")
    return open_inference.target_of(*found)
