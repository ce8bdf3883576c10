"""Numbers and strings of a graph's constants, as arrays and back."""

from typing import Any

import numpy as np

STRING, BOOL, INT32, INT64, FLOAT = 7, 10, 3, 9, 1
# TensorFlow's number of a type: numpy's, and the field of TensorProto that holds its values.
_TYPES: dict[int, tuple[type, str]] = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"),
    6: (np.int8, "int_val"),
    7: (np.object_, "string_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"),
    22: (np.uint32, "uint32_val"),
    23: (np.uint64, "uint64_val"),
}


def array_of(tensor: Any) -> np.ndarray | None:
    """A TensorProto's elements; None for a type that is not here. The last value given stands for the rest."""
    if tensor.dtype not in _TYPES or tensor.tensor_shape.unknown_rank:
        return None
    dtype, field = _TYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = list(getattr(tensor, field))
    count = int(np.prod(shape))
    if len(values) < count:
        values += [values[-1] if values else dtype() if dtype is not np.object_ else b""] * (count - len(values))
    found: np.ndarray = np.empty(len(values), dtype)
    found[:] = values
    return found.reshape(shape)


def fill_tensor(tensor: Any, array: np.ndarray) -> None:
    """Makes a TensorProto of an array."""
    number = next(number for number, (dtype, _) in _TYPES.items() if array.dtype == dtype)
    tensor.dtype = number
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if number == STRING:
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
