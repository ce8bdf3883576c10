"""tensorflow.serving.ModelService: the states of versions, and changing what is served."""

from collections.abc import Callable
from typing import Any

import grpc

from processor.errors import InvalidRequest, ModelNotFound, RequestError
from processor.gateway.router import Router
from processor.wire import messages
from processor.wire.status import code_of, error_of_number

SERVICE = "tensorflow.serving.ModelService"

_STATES = messages.GetModelStatusResponse.DESCRIPTOR.fields_by_name[
    "model_version_status"
].message_type.enum_types_by_name["State"]

# Carries a ReloadConfigRequest to the supervisor; returns (gRPC code, message).
Reload = Callable[[bytes], tuple[int, str]]


def handlers(router: Router, reload: Reload) -> dict[str, grpc.RpcMethodHandler]:
    def get_model_status(data: bytes, context: grpc.ServicerContext) -> bytes:
        return _guarded(context, lambda: _status(router, messages.parse(messages.GetModelStatusRequest, data)))

    def handle_reload_config(data: bytes, context: grpc.ServicerContext) -> bytes:
        def answer() -> Any:
            request = messages.parse(messages.ReloadConfigRequest, data)
            if request.config.WhichOneof("config") != "model_config_list":
                raise InvalidRequest(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            code, message = reload(data)
            if code:
                raise error_of_number(code, message)
            response = messages.ReloadConfigResponse()
            response.status.SetInParent()
            return response

        return _guarded(context, answer)

    return {
        "GetModelStatus": grpc.unary_unary_rpc_method_handler(get_model_status),
        "HandleReloadConfigRequest": grpc.unary_unary_rpc_method_handler(handle_reload_config),
    }


def _guarded(context: grpc.ServicerContext, answer: Callable[[], Any]) -> bytes:
    try:
        data: bytes = answer().SerializeToString()
        return data
    except RequestError as error:
        context.set_code(code_of(error))
        context.set_details(str(error))
        return b""


def _status(router: Router, request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise InvalidRequest("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise InvalidRequest("ModelSpec has no name specified.")
    model = router.models().get(spec.name)
    versions = model.versions if model else ()
    choice = spec.WhichOneof("version_choice")
    if choice is not None:
        wanted = spec.version.value
        if choice == "version_label":
            labels = dict(model.labels) if model else {}
            if spec.version_label not in labels:
                raise InvalidRequest(f"Unrecognized servable version label: {spec.version_label}")
            wanted = labels[spec.version_label]
        versions = tuple(route for route in versions if route.version == wanted)
        if not versions:
            raise ModelNotFound(f"Could not find version {wanted} of model {spec.name}")
    if not versions:
        raise ModelNotFound(f"Could not find any versions of model {spec.name}")
    response = messages.GetModelStatusResponse()
    for route in versions:
        item = response.model_version_status.add(
            version=route.version, state=_STATES.values_by_name[route.state].number
        )
        item.status.SetInParent()
        if route.error and route.state != "AVAILABLE":
            item.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
            item.status.error_message = route.error
    return response
