"""Whether a request fits its signature. Messages are TensorFlow Serving's where it has one."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.serving.served import served_name
from corelane.processor.wire import tensors
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES, Signature, TensorSpec, wire_type

# Tensors may take more memory than their bytes on the wire: a varint becomes eight bytes, one value fills a shape.
DECODED_FACTOR = 4


def find_signature(
    signatures: Mapping[str, Signature], name: str, unserved: Mapping[str, str] = MappingProxyType({})
) -> Signature:
    """The signature of this name. FailedPrecondition, with the reason if it is among the `unserved`."""
    return signatures[served_name(name, signatures, unserved)]


def decode_inputs(
    signature: Signature, protos: Mapping[str, Any], message_bytes_max: int, *, any_shape: bool = False
) -> dict[str, np.ndarray]:
    """The signature's inputs from a request's TensorProtos, complete, with the right types and, unless the engine takes
    `any_shape`, the signature's shapes."""
    _check_names(signature, protos)
    arrays: dict[str, np.ndarray] = {}
    budget = DECODED_FACTOR * message_bytes_max
    for index, (alias, spec) in enumerate(signature.inputs.items()):
        if alias not in protos:
            assert spec.default is not None
            arrays[alias] = spec.default
            continue
        proto = protos[alias]
        _check_type(index, spec, proto.dtype)
        array = tensors.decode(alias, proto, bytes_max=budget)
        budget -= array.nbytes
        if not any_shape:
            _check_shape(spec, array.shape)
        arrays[alias] = array
    return arrays


def check_arrays(
    signature: Signature, arrays: Mapping[str, np.ndarray], *, any_shape: bool = False
) -> dict[str, np.ndarray]:
    """The signature's inputs from arrays that a request brought, as `decode_inputs` has them."""
    _check_names(signature, arrays)
    checked: dict[str, np.ndarray] = {}
    for index, (alias, spec) in enumerate(signature.inputs.items()):
        if alias not in arrays:
            assert spec.default is not None
            checked[alias] = spec.default
            continue
        array = arrays[alias]
        _check_type(index, spec, tensors.type_number(wire_type(array)))
        if not any_shape:
            _check_shape(spec, array.shape)
        checked[alias] = array
    return checked


def choose_outputs(signature: Signature, aliases: Iterable[str]) -> list[str]:
    """The outputs to fetch: those of an `output_filter`, or all."""
    chosen: list[str] = []
    for alias in aliases:
        if alias not in signature.outputs:
            raise InvalidRequest(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if alias in chosen:
            raise InvalidRequest(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or list(signature.outputs)


def _check_names(signature: Signature, protos: Mapping[str, Any]) -> None:
    sent, known = set(protos), set(signature.inputs)
    defaults = {alias for alias, spec in signature.inputs.items() if spec.default is not None}
    missing, extra = known - sent - defaults, sent - known
    if not missing and not extra:
        return
    if len(sent) != len(known):
        raise InvalidRequest(
            f"input size does not match signature: {len(sent)}!={len(known)} len({_set(sent)}) != len({_set(known)}). "
            f"Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    if missing:
        alias = min(missing)
        raise InvalidRequest(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].engine_name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_set(sent)}, "
            f"or default input alias set: {','.join(sorted(defaults))}"
        )
    raise InvalidRequest(
        f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & known))}, "
        f"request input: {','.join(sorted(sent))}"
    )


def _check_type(index: int, spec: TensorSpec, number: int) -> None:
    sent = tensors.type_name(number)
    if sent == spec.dtype:
        return
    if sent not in NUMPY_TYPES:
        raise InvalidRequest(f"tensor parsing error: {spec.name} (element type {sent} cannot be served)")
    raise InvalidRequest(
        f"Expects arg[{index}] to be {SHORT_NAMES[spec.dtype]} but {SHORT_NAMES[sent]} is provided "
        f'(input "{spec.name}")'
    )


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if not spec.accepts(shape):
        assert spec.shape is not None
        raise InvalidRequest(
            f'input "{spec.name}" has shape {list(shape)}, which does not fit {list(spec.shape)} (-1: any size)'
        )


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
