"""TensorProto to numpy and back, by TensorFlow's rules.

A shape with more elements than values repeats the last value; no value at all is zeros (empty strings). Bits of half
and bfloat16 travel in `half_val`, complex numbers as pairs, the small integers in `int_val`.
"""

import math
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire.messages import TensorProto
from corelane.processor.wire.tensor_types import NUMPY_TYPES, wire_type

_TYPE_NUMBERS = {value.name: value.number for value in TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values}
_TYPE_NAMES = {number: name for name, number in _TYPE_NUMBERS.items()}

_VALUE_FIELDS = {
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_HALF": "half_val",
    "DT_BFLOAT16": "half_val",
    "DT_INT8": "int_val",
    "DT_INT16": "int_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_UINT8": "int_val",
    "DT_UINT16": "int_val",
    "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val",
    "DT_BOOL": "bool_val",
    "DT_COMPLEX64": "scomplex_val",
    "DT_COMPLEX128": "dcomplex_val",
    "DT_STRING": "string_val",
}

_RANK_MAX = 254  # as in TensorFlow
_STRING_BYTES = 24  # what an engine takes for an element, its text apart


def type_number(name: str) -> int:
    return int(_TYPE_NUMBERS[name])


def type_name(number: int) -> str:
    """The wire's name of an element type, whether or not it can be served."""
    return _TYPE_NAMES.get(number, f"DT_{number}")


def decode(alias: str, proto: Any, *, bytes_max: int) -> np.ndarray:
    """The array in a TensorProto. InvalidRequest, naming the input `alias`, if it is not a valid tensor or its array
    would take more than `bytes_max` bytes; nothing is allocated before that is known."""

    def refuse(reason: str) -> InvalidRequest:
        return InvalidRequest(f"tensor parsing error: {alias} ({reason})")

    dtype_name = type_name(proto.dtype)
    dtype = NUMPY_TYPES.get(dtype_name)
    if dtype is None:
        raise refuse(f"element type {dtype_name} cannot be served")
    if proto.tensor_shape.unknown_rank:
        raise refuse("its shape has unknown rank")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > _RANK_MAX:
        raise refuse(f"rank {len(shape)} is over {_RANK_MAX}")
    if any(size < 0 for size in shape):
        raise refuse(f"shape {list(shape)} has a negative dimension")
    count = math.prod(shape)
    item_bytes = _STRING_BYTES if dtype_name == "DT_STRING" else dtype.itemsize
    # numpy bounds the product of the non-zero dimensions even where another one is zero.
    if math.prod(size for size in shape if size) * item_bytes > bytes_max:
        raise refuse(f"shape {list(shape)} needs more than the limit of {bytes_max} bytes")
    if len(shape) > 64:
        raise refuse(f"rank {len(shape)} is over 64, the most that can be served")

    if proto.tensor_content:
        if dtype_name == "DT_STRING":
            return _strings_from_content(proto.tensor_content, count, refuse).reshape(shape)
        if len(proto.tensor_content) != count * item_bytes:
            raise refuse(
                f"tensor_content has {len(proto.tensor_content)} bytes, shape {list(shape)} needs {count * item_bytes}"
            )
        if dtype_name == "DT_BOOL":
            return (np.frombuffer(proto.tensor_content, np.uint8) != 0).reshape(shape)
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)

    values = _values(dtype_name, dtype, getattr(proto, _VALUE_FIELDS[dtype_name]), refuse)
    if len(values) > count:
        raise refuse(f"{len(values)} values for shape {list(shape)}, which takes {count}")
    if len(values) < count:
        array = np.empty(count, dtype)
        array[: len(values)] = values
        array[len(values) :] = values[-1] if len(values) else (b"" if dtype_name == "DT_STRING" else 0)
        values = array
    return values.reshape(shape)


def _values(dtype_name: str, dtype: np.dtype, field: Any, refuse: Any) -> np.ndarray:
    if dtype_name == "DT_STRING":
        strings = np.empty(len(field), np.object_)
        strings[:] = list(field)
        return strings
    if dtype_name in ("DT_HALF", "DT_BFLOAT16"):
        bits = np.fromiter(field, np.int64, len(field))
        return bits.astype(np.uint16).view(dtype)
    if dtype_name in ("DT_COMPLEX64", "DT_COMPLEX128"):
        if len(field) % 2:
            raise refuse("an odd number of values for complex numbers")
        part = np.float32 if dtype_name == "DT_COMPLEX64" else np.float64
        return np.fromiter(field, part, len(field)).view(dtype)
    if dtype_name in ("DT_INT8", "DT_INT16", "DT_UINT8", "DT_UINT16"):
        # int_val is 32 bits wide; TensorFlow keeps the low ones.
        return np.fromiter(field, np.int64, len(field)).astype(dtype)
    return np.fromiter(field, dtype, len(field))


def _strings_from_content(content: bytes, count: int, refuse: Any) -> np.ndarray:
    """Strings in tensor_content: all lengths as varints, then all bytes."""
    if count > len(content):
        raise refuse(f"tensor_content has {len(content)} bytes, too few for {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 63:
                raise refuse("tensor_content of strings is cut short")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise refuse("tensor_content of strings has the wrong length")
    strings = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def encode(array: np.ndarray, proto: Any, *, as_content: bool = False) -> None:
    """Writes `array` into an empty TensorProto, as `*_val` or, for all but strings, as `tensor_content`."""
    dtype_name = wire_type(array)
    proto.dtype = _TYPE_NUMBERS[dtype_name]
    shape = proto.tensor_shape
    for size in array.shape:
        shape.dim.add(size=size)
    if as_content and dtype_name != "DT_STRING":
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
        return
    flat = array.ravel()
    field = getattr(proto, _VALUE_FIELDS[dtype_name])
    if dtype_name == "DT_STRING":
        field.extend([item.encode() if isinstance(item, str) else bytes(item) for item in flat.tolist()])
    elif dtype_name in ("DT_HALF", "DT_BFLOAT16"):
        field.extend(flat.view(np.uint16).tolist())
    elif dtype_name in ("DT_COMPLEX64", "DT_COMPLEX128"):
        field.extend(flat.view(np.float32 if dtype_name == "DT_COMPLEX64" else np.float64).tolist())
    else:
        field.extend(flat.tolist())


def to_proto(array: np.ndarray, *, as_content: bool = False) -> Any:
    proto = TensorProto()
    encode(array, proto, as_content=as_content)
    return proto


__all__ = ["decode", "encode", "to_proto", "type_name", "type_number"]
