"""Arrays as plain JSON, exact to the bit."""

import base64
from typing import Any

import ml_dtypes
import numpy as np


def pack(array: np.ndarray) -> list[Any]:
    if array.dtype.kind in "OSU":
        items = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
        return ["strings", list(array.shape), [base64.b64encode(item).decode() for item in items]]
    return [array.dtype.name, list(array.shape), base64.b64encode(array.tobytes()).decode()]


def unpack(raw: list[Any]) -> np.ndarray:
    kind, shape, data = raw
    if kind == "strings":
        strings = np.empty(len(data), np.object_)
        strings[:] = [base64.b64decode(item) for item in data]
        return strings.reshape(shape)
    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    return np.frombuffer(base64.b64decode(data), dtype).reshape(shape)
