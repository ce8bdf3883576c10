"""Parameters of KServe's requests: those that are offered, those that change no answer; the rest are refused.

A parameter that could change what an answer means is never read over: a client that asks for the top three classes must
not get scores, and one whose tensors lie elsewhere must not get an answer to others.
"""

from collections.abc import Callable, Mapping
from typing import Any

from corelane.processor.errors import InvalidRequest

SIGNATURE = "signature_name"
_SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


def _any(value: Any) -> bool:
    return True


def _nothing(value: Any) -> bool:
    """The value with which a client asks for nothing."""
    return value in (0, False, "")


def _plain_content(value: Any) -> bool:
    return value in ("np", "str", "pd")


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


# Those that are taken, with what their value may be. Of the hints to Triton's scheduler an answer does not depend.
_REQUEST: dict[str, Callable[[Any], bool]] = {
    SIGNATURE: lambda value: isinstance(value, str),
    "priority": _any,
    "timeout": _any,
    "binary_data_output": _boolean,
    "content_type": _plain_content,
    "triton_enable_empty_final_response": _any,
    **dict.fromkeys(_SEQUENCE, _nothing),
}
_INPUT: dict[str, Callable[[Any], bool]] = {"content_type": _plain_content}
_OUTPUT: dict[str, Callable[[Any], bool]] = {
    "binary_data": _boolean,
    "content_type": _plain_content,
    "classification": _nothing,
}
_REASONS = {
    SIGNATURE: "should be text",
    "binary_data": "should be true or false",
    "binary_data_output": "should be true or false",
    "classification": "is not offered; ask for the whole output and sort it",
    "content_type": "is offered as np, pd and str only; send tensors as they are",
    **dict.fromkeys(_SHARED_MEMORY, "is not offered: this server reads and writes no shared memory"),
    **dict.fromkeys(_SEQUENCE, "is not offered: this server keeps no state between requests"),
}


def check_parameters(request: Any) -> None:
    """InvalidRequest for a parameter of a ModelInferRequest that is not offered."""
    _check("the request", request.parameters, _REQUEST)
    for tensor in request.inputs:
        _check(f"input '{tensor.name}'", tensor.parameters, _INPUT)
    for output in request.outputs:
        _check(f"output '{output.name}'", output.parameters, _OUTPUT)


def set_parameter(parameter: Any, value: Any) -> bool:
    """Writes a value of JSON into an InferParameter; False if none can carry it."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        parameter.int64_param = value
    elif isinstance(value, int) and 0 <= value < 2**64:
        parameter.uint64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    else:
        return False
    return True


def signature_of(request: Any) -> str:
    """The signature that a checked request names; empty if it names none."""
    return str(request.parameters[SIGNATURE].string_param) if SIGNATURE in request.parameters else ""


def _check(holder: str, parameters: Mapping[str, Any], offered: Mapping[str, Callable[[Any], bool]]) -> None:
    for name, parameter in sorted(parameters.items()):
        kind = parameter.WhichOneof("parameter_choice")
        value = None if kind is None else getattr(parameter, kind)
        if name not in offered or not offered[name](value):
            reason = _REASONS.get(name) or f"is not known; known: {', '.join(sorted(offered))}"
            raise InvalidRequest(f"parameter '{name}' of {holder} {reason}")
