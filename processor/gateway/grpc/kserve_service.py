"""inference.GRPCInferenceService: KServe's Open Inference Protocol beside TensorFlow Serving's, on the same port."""

from collections.abc import Callable
from typing import Any

import grpc

from corelane.processor._native import peek_infer_target
from corelane.processor.channel.methods import Method
from corelane.processor.control.gateway_settings import TracesSettings
from corelane.processor.control.questions import LoadQuestion, UnloadQuestion
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.asking import Ask
from corelane.processor.gateway.grpc.calls import Forwarding, Target, answering, answering_in_time, forwarding
from corelane.processor.gateway.protocols import kserve, triton_settings
from corelane.processor.gateway.protocols.triton import ModelFacts
from corelane.processor.gateway.signatures import Signatures
from corelane.processor.version import VERSION
from corelane.processor.wire import messages

SERVICE = "inference.GRPCInferenceService"

_LOG_FIELDS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def handlers(
    how: Forwarding,
    signatures: Signatures,
    facts: ModelFacts,
    ask: Ask,
    unready: Callable[[], str],
    traces: TracesSettings | None,
) -> dict[str, grpc.RpcMethodHandler]:
    """The service's methods, without (de)serializers: requests and responses are bytes. `unready` says why the server
    is not ready; `traces` is `listen.traces`."""
    router = how.router

    def model_ready(data: bytes) -> object:
        request = messages.parse(messages.ModelReadyRequest, data)
        return messages.ModelReadyResponse(ready=not kserve.unready(router, request.name, request.version))

    def model_metadata(data: bytes) -> object:
        request = messages.parse(messages.ModelMetadataRequest, data)
        return kserve.model_metadata(router, signatures, request.name, request.version)

    def index(data: bytes) -> object:
        request = messages.parse(messages.RepositoryIndexRequest, data)
        return kserve.repository_index(router, request.ready)

    def load(data: bytes, timeout_s: float | None) -> object:
        request = messages.parse(messages.RepositoryModelLoadRequest, data)
        if request.parameters:
            raise InvalidRequest("loads with parameters are not offered; the manifest configures models")
        ask(LoadQuestion(model=request.model_name), timeout_s)
        return messages.RepositoryModelLoadResponse()

    def unload(data: bytes, timeout_s: float | None) -> object:
        request = messages.parse(messages.RepositoryModelUnloadRequest, data)
        ask(UnloadQuestion(model=request.model_name), timeout_s)
        return messages.RepositoryModelUnloadResponse()

    def model_config(data: bytes) -> object:
        request = messages.parse(messages.ModelConfigRequest, data)
        return facts.configuration(request.name, request.version)

    def model_statistics(data: bytes) -> object:
        request = messages.parse(messages.ModelStatisticsRequest, data)
        return facts.statistics(request.name, request.version)

    def trace_setting(data: bytes) -> object:
        request = messages.parse(messages.TraceSettingRequest, data)
        if request.model_name:
            router.choose(*kserve.target_of(request.model_name, ""), None)
        changes = {name: list(setting.value) for name, setting in request.settings.items()}
        response = messages.TraceSettingResponse()
        for name, values in triton_settings.trace_settings(traces, changes).items():
            response.settings[name].value.extend(values)
        return response

    def log_settings(data: bytes) -> object:
        request = messages.parse(messages.LogSettingsRequest, data)
        changes = {name: _log_setting(value) for name, value in request.settings.items()}
        response = messages.LogSettingsResponse()
        for name, setting in triton_settings.log_settings(changes).items():
            setattr(response.settings[name], _LOG_FIELDS[type(setting)], setting)
        return response

    behaviours = {
        "ServerLive": answering(lambda data: messages.ServerLiveResponse(live=True)),
        "ServerReady": answering(lambda data: messages.ServerReadyResponse(ready=not unready())),
        "ModelReady": answering(model_ready),
        "ServerMetadata": answering(
            lambda data: messages.ServerMetadataResponse(
                name=kserve.SERVER_NAME, version=VERSION, extensions=kserve.EXTENSIONS
            )
        ),
        "ModelMetadata": answering(model_metadata),
        "ModelInfer": forwarding(how, Method.INFER, _target),
        "RepositoryIndex": answering(index),
        "RepositoryModelLoad": answering_in_time(load),
        "RepositoryModelUnload": answering_in_time(unload),
        "ModelConfig": answering(model_config),
        "ModelStatistics": answering(model_statistics),
        "TraceSetting": answering(trace_setting),
        "LogSettings": answering(log_settings),
    }
    return {name: grpc.unary_unary_rpc_method_handler(behave) for name, behave in behaviours.items()}


def _log_setting(value: Any) -> triton_settings.LogSetting | None:
    chosen = value.WhichOneof("parameter_choice")
    setting: triton_settings.LogSetting | None = None if chosen is None else getattr(value, chosen)
    return setting


def _target(request: bytes) -> Target:
    found = peek_infer_target(request)
    if found is None:
        raise InvalidRequest("the request is not a valid protobuf message")
    return kserve.target_of(*found)
