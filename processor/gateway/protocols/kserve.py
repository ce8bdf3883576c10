"""What the Open Inference Protocol (KServe v2) says of servers and models, by gRPC and by REST alike."""

from collections.abc import Mapping
from typing import Any

from corelane.processor.errors import InvalidRequest, RequestError
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.signatures import Signatures, VersionSignatures
from corelane.processor.serving.served import check_served
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.kserve_tensors import DATATYPES
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.processor.wire.version_numbers import is_number, parse_version

SERVER_NAME = "corelane"
EXTENSIONS = (
    "model_repository",
    "binary_tensor_data",
    "model_configuration",
    "statistics",
    "trace",
    "logging",
)
# A tensor's name, its datatype and its shape.
Described = tuple[str, str, list[int]]


def target_of(name: str, version: str) -> tuple[str, int | None, str | None]:
    """A model, and the version or label that the protocol's text means. InvalidRequest without a name, or for a number
    that no version has."""
    if not name:
        raise InvalidRequest("the request names no model")
    if is_number(version):
        return name, parse_version(version), None
    return name, None, version or None


def unready(router: Router, name: str, version: str) -> str:
    """Why a model, or this version of it, does not answer; empty if it does."""
    try:
        router.choose(*target_of(name, version), None)
    except RequestError as error:
        return str(error)
    return ""


def model_metadata(router: Router, signatures: Signatures, name: str, version: str) -> Any:
    """A ModelMetadataResponse. The errors of a call, and of `tensors_of`."""
    route, _, found = signatures.of(*target_of(name, version))
    model = router.models().get(name)
    serving = [str(one.version) for one in model.versions if one.instance is not None] if model else []
    response = messages.ModelMetadataResponse(
        name=name, versions=[str(route.version)] if version else serving, platform="corelane"
    )
    for target, described in zip((response.inputs, response.outputs), tensors_of(found), strict=True):
        for alias, datatype, shape in described:
            target.add(name=alias, datatype=datatype, shape=shape)
    return response


def tensors_of(signatures: VersionSignatures) -> tuple[list[Described], list[Described]]:
    """The inputs and outputs of the default signature, or of the only one. FailedPrecondition, with the reason, if the
    version has a default signature and cannot serve it."""
    check_served(DEFAULT_SIGNATURE, signatures.unserved)
    served = signatures.served
    chosen = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in served else min(served, default=None)
    if chosen is None:
        return [], []
    return _described(served[chosen].inputs), _described(served[chosen].outputs)


def repository_index(router: Router, only_ready: bool) -> Any:
    """A RepositoryIndexResponse, from the routing table."""
    response = messages.RepositoryIndexResponse()
    for name, model in sorted(router.models().items()):
        for route in model.versions:
            ready = route.instance is not None
            if ready or not only_ready:
                response.models.add(
                    name=name,
                    version=str(route.version),
                    state="READY" if ready else _STATES.get(route.state, "UNAVAILABLE"),
                    reason="" if ready else route.error,
                )
        if not model.versions and not only_ready:
            response.models.add(name=name, state="UNAVAILABLE", reason=model.problem)
    return response


_STATES = {"START": "LOADING", "LOADING": "LOADING", "AVAILABLE": "LOADING", "UNLOADING": "UNLOADING"}


def _described(infos: Mapping[str, Any]) -> list[Described]:
    described = []
    for alias, info in sorted(infos.items()):
        dtype = tensors.type_name(info.dtype)
        described.append((alias, DATATYPES.get(dtype, dtype), _shape(info)))
    return described


def _shape(info: Any) -> list[int]:
    # The protocol has no word for an unknown rank; one open dimension is the nearest.
    return [-1] if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
