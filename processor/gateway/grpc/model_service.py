"""tensorflow.serving.ModelService: the states of versions, and changing what is served."""

from collections.abc import Sequence
from typing import Any

import grpc

from corelane.processor.control.questions import ReloadQuestion
from corelane.processor.control.routes import VersionRoute
from corelane.processor.errors import InvalidRequest, ModelNotFound
from corelane.processor.gateway.asking import Ask
from corelane.processor.gateway.grpc.calls import answering, answering_in_time
from corelane.processor.gateway.router import Router
from corelane.processor.wire import messages

SERVICE = "tensorflow.serving.ModelService"

_STATES = messages.GetModelStatusResponse.DESCRIPTOR.fields_by_name[
    "model_version_status"
].message_type.enum_types_by_name["State"]


def handlers(router: Router, ask: Ask) -> dict[str, grpc.RpcMethodHandler]:
    def get_model_status(data: bytes) -> Any:
        return status(router, messages.parse(messages.GetModelStatusRequest, data))

    def handle_reload_config(data: bytes, timeout_s: float | None) -> Any:
        request = messages.parse(messages.ReloadConfigRequest, data)
        if request.config.WhichOneof("config") != "model_config_list":
            raise InvalidRequest(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        ask(ReloadQuestion(request=data), timeout_s)
        response = messages.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    return {
        "GetModelStatus": grpc.unary_unary_rpc_method_handler(answering(get_model_status)),
        "HandleReloadConfigRequest": grpc.unary_unary_rpc_method_handler(answering_in_time(handle_reload_config)),
    }


def state_name(number: int) -> str:
    name: str = _STATES.values_by_number[number].name
    return name


def status(router: Router, request: Any) -> Any:
    """The GetModelStatusResponse of a GetModelStatusRequest."""
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
        why = f": {model.problem}" if model and model.problem else ""
        raise ModelNotFound(f"Could not find any versions of model {spec.name}{why}")
    return states(versions)


def states(versions: Sequence[VersionRoute]) -> Any:
    """A GetModelStatusResponse of these versions."""
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
