"""Tensors of KServe's Open Inference Protocol to numpy and back.

Numbers travel as they lie in memory, little-endian; of BYTES, each element stands behind its length in four bytes. A
request has its tensors in `raw_input_contents` or each in `contents`; a response has them raw.
"""

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire.tensor_types import NUMPY_TYPES, wire_type

# The protocol's name of each element type that it has one for.
DATATYPES = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_BFLOAT16": "BF16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
}
_NAMES = {datatype: name for name, datatype in DATATYPES.items()}

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_LENGTH = struct.Struct("<I")
_RANK_MAX = 64


def dtype_of(datatype: str, name: str) -> np.dtype:
    """numpy's type of a datatype. InvalidRequest, naming the tensor, for one that is none."""
    if datatype not in _NAMES:
        raise InvalidRequest(f"input '{name}' has datatype '{datatype}'; known: {', '.join(sorted(_NAMES))}")
    return NUMPY_TYPES[_NAMES[datatype]]


def datatype_of(array: np.ndarray, name: str) -> str:
    """The datatype of an array. InvalidRequest for a type that the protocol has no name for."""
    found = DATATYPES.get(wire_type(array))
    if found is None:
        raise InvalidRequest(f"output '{name}' is of type {array.dtype}, which the protocol cannot carry")
    return found


def decode_inputs(request: Any) -> dict[str, np.ndarray]:
    """The tensors of a ModelInferRequest, by name."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs; each needs one")
    arrays: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(request.inputs):
        name = tensor.name
        if name in arrays:
            raise InvalidRequest(f"input '{name}' stands twice in the request")
        if raw:
            if tensor.HasField("contents"):
                raise InvalidRequest(f"input '{name}' has contents beside raw_input_contents; send one of them")
            arrays[name] = from_raw(name, tensor.datatype, tensor.shape, raw[index])
        else:
            arrays[name] = _from_contents(name, tensor.datatype, tensor.shape, tensor.contents)
    return arrays


def from_raw(name: str, datatype: str, shape: Iterable[int], data: bytes) -> np.ndarray:
    """A tensor from its bytes, which must be as many as its shape takes. Numbers are a view of them."""
    dtype, dims = dtype_of(datatype, name), _dims(name, shape)
    count = math.prod(dims)
    if datatype == "BYTES":
        return _object_array(name, dims, _split(name, data))
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"input '{name}' has {len(data)} bytes; {datatype} of shape {list(dims)} takes {count * dtype.itemsize}"
        )
    if datatype == "BOOL":
        return (np.frombuffer(data, np.uint8) != 0).reshape(dims)
    return np.frombuffer(data, dtype).reshape(dims)


def to_raw(array: np.ndarray) -> bytes:
    """The bytes of a tensor."""
    if array.dtype.kind not in "OSU":
        return np.ascontiguousarray(array).tobytes()
    items = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def from_values(name: str, datatype: str, shape: Iterable[int], values: list[Any]) -> np.ndarray:
    """A tensor from its elements, flat and in order; strings as bytes or text."""
    dtype, dims = dtype_of(datatype, name), _dims(name, shape)
    if datatype == "BYTES":
        return _object_array(name, dims, [item.encode() if isinstance(item, str) else item for item in values])
    _check_count(name, dims, len(values))
    return np.array(values, dtype).reshape(dims)


def fill_response(response: Any, arrays: dict[str, np.ndarray]) -> None:
    """Writes the outputs into a ModelInferResponse, all raw."""
    for name, array in arrays.items():
        response.outputs.add(name=name, datatype=datatype_of(array, name), shape=array.shape)
        response.raw_output_contents.append(to_raw(array))


def _from_contents(name: str, datatype: str, shape: Iterable[int], contents: Any) -> np.ndarray:
    dtype_of(datatype, name)
    own = _CONTENTS.get(datatype)
    if own is None:
        raise InvalidRequest(f"input '{name}' of {datatype} has no field in contents; send it in raw_input_contents")
    other = next((field.name for field, _ in contents.ListFields() if field.name != own), None)
    if other is not None:
        raise InvalidRequest(f"input '{name}' is {datatype}, whose values go to {own}, not to {other}")
    try:
        return from_values(name, datatype, shape, list(getattr(contents, own)))
    except OverflowError as error:
        raise InvalidRequest(f"input '{name}' has a value that {datatype} cannot hold: {error}") from error


def _dims(name: str, shape: Iterable[int]) -> tuple[int, ...]:
    dims = tuple(shape)
    if len(dims) > _RANK_MAX:
        raise InvalidRequest(f"input '{name}' has rank {len(dims)}, over {_RANK_MAX}")
    if any(size < 0 for size in dims):
        raise InvalidRequest(f"input '{name}' has shape {list(dims)}, with a negative dimension")
    return dims


def _check_count(name: str, dims: tuple[int, ...], count: int) -> None:
    if count != math.prod(dims):
        raise InvalidRequest(f"input '{name}' has {count} elements; shape {list(dims)} takes {math.prod(dims)}")


def _object_array(name: str, dims: tuple[int, ...], items: list[bytes]) -> np.ndarray:
    _check_count(name, dims, len(items))
    array = np.empty(len(items), np.object_)
    array[:] = items
    return array.reshape(dims)


def _split(name: str, data: bytes) -> list[bytes]:
    items, position = [], 0
    while position < len(data):
        end = position + _LENGTH.size
        if end > len(data):
            raise InvalidRequest(f"input '{name}' ends within the length of an element")
        (length,) = _LENGTH.unpack_from(data, position)
        if length > len(data) - end:
            raise InvalidRequest(f"input '{name}' ends within an element")
        items.append(data[end : end + length])
        position = end + length
    return items
