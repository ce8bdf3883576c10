"""An answer's tensors as TensorFlow Serving's REST API has them: rows ("predictions") or columns ("outputs")."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES, wire_type

_BYTES_SUFFIX = "_bytes"  # outputs so named are bytes, not text


def outputs_as_rows(arrays: Mapping[str, np.ndarray]) -> list[Any] | np.ndarray:
    """A value for each row, or an object where there are several outputs. InvalidRequest if they have no first axis in
    common."""
    hint = "; send 'inputs' instead of 'instances', or name a signature whose outputs have rows"
    sizes = {name: len(array) for name, array in sorted(arrays.items()) if array.ndim}
    for name, array in sorted(arrays.items()):
        if not array.ndim:
            raise InvalidRequest(f"Tensor name: {name} has no shape information {hint}")
    rows = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != rows:
            raise InvalidRequest(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {rows}{hint}")
    values = {name: _to_json(name, array) for name, array in arrays.items()}
    if len(values) == 1:
        (only,) = values.values()
        return only
    return [{name: value[row] for name, value in values.items()} for row in range(rows)]


def outputs_as_columns(arrays: Mapping[str, np.ndarray]) -> Any:
    """An object of whole tensors, or the only one by itself."""
    values = {name: _to_json(name, array) for name, array in arrays.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _to_json(name: str, array: np.ndarray) -> Any:
    """What JSON can carry: an array of numbers, or nested lists of text and bytes."""
    if array.dtype.kind == "O":
        return _text(array.tolist(), name.endswith(_BYTES_SUFFIX))
    if array.dtype.kind == "c":
        raise InvalidRequest(
            f"Failed to write JSON value for tensor type: {SHORT_NAMES[wire_type(array)]} (output {name})"
        )
    if array.dtype == NUMPY_TYPES["DT_BFLOAT16"]:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _text(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_text(item, as_bytes) for item in value]
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            as_bytes = True
    return {"b64": base64.b64encode(value).decode()}
