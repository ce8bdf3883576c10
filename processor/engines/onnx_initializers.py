"""Inputs of ONNX models that may be left out: initializers that are graph inputs, too."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from corelane.processor.errors import LoadError
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import NUMPY_TYPES, Signature

# What one input's default may take, and all of them together; larger initializers are weights, and stay constants.
BYTES_MAX = 64 * 1024
_TOTAL_BYTES_MAX = 4 * 1024 * 1024
# Before this version of the format every initializer had to be an input, so that it says nothing.
_IR_VERSION_MIN = 4
_EXTERNAL = 1
# ONNX's numbers of element types, and the field that has the values where they are not raw.
_TYPES = {
    1: ("DT_FLOAT", "float_data"),
    2: ("DT_UINT8", "int32_data"),
    3: ("DT_INT8", "int32_data"),
    4: ("DT_UINT16", "int32_data"),
    5: ("DT_INT16", "int32_data"),
    6: ("DT_INT32", "int32_data"),
    7: ("DT_INT64", "int64_data"),
    8: ("DT_STRING", "string_data"),
    9: ("DT_BOOL", "int32_data"),
    10: ("DT_HALF", "int32_data"),
    11: ("DT_DOUBLE", "double_data"),
    12: ("DT_UINT32", "uint64_data"),
    13: ("DT_UINT64", "uint64_data"),
    16: ("DT_BFLOAT16", "int32_data"),
}
_BITS = ("DT_HALF", "DT_BFLOAT16")  # whose values stand in the field as bits


def optional_inputs(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The defaults of the inputs that a request may leave out, by name, and the names of the inputs whose defaults are
    too large to be offered. LoadError if the file is no ONNX model."""
    return _optional(_read(file))


def _optional(model: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    defaults: dict[str, np.ndarray] = {}
    left: list[str] = []
    if model.ir_version < _IR_VERSION_MIN:
        return defaults, left
    inputs = {port.name for port in model.graph.input}
    room = _TOTAL_BYTES_MAX
    for tensor in model.graph.initializer:
        if tensor.name not in inputs:
            continue
        array = _array(tensor)
        if array is None or array.nbytes > room:
            left.append(tensor.name)
        else:
            defaults[tensor.name] = array
            room -= array.nbytes
    return defaults, left


@contextlib.contextmanager
def as_plain_inputs(file: Path) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """For an engine that makes constants of initializers: a file of the same model in which those that may be left out
    are plain inputs, and their defaults. The file is `file` itself where there are none, or where weights stand beside
    it; else it goes at the end."""
    defaults: dict[str, np.ndarray] = {}
    model = None
    if file.suffix == ".onnx":
        model = _read(file)
        defaults = _optional(model)[0]
    if model is None or not defaults or any(tensor.data_location == _EXTERNAL for tensor in model.graph.initializer):
        yield file, {}
        return
    remaining = [tensor for tensor in model.graph.initializer if tensor.name not in defaults]
    del model.graph.initializer[:]
    model.graph.initializer.extend(remaining)
    # In memory: a worker writes no files.
    with os.fdopen(os.memfd_create("corelane-model"), "wb") as plain:
        plain.write(model.SerializeToString())
        plain.flush()
        yield Path(f"/proc/self/fd/{plain.fileno()}"), defaults


def with_defaults(signature: Signature, defaults: Mapping[str, np.ndarray]) -> Signature:
    """The signature whose inputs of these names may be left out."""
    inputs = {name: replace(spec, default=defaults.get(name)) for name, spec in signature.inputs.items()}
    return replace(signature, inputs=inputs)


def _read(file: Path) -> Any:
    try:
        return messages.OnnxModel.FromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise LoadError(f"{file} is not an ONNX model: {error}") from error


def _array(tensor: Any) -> np.ndarray | None:
    """The values of a TensorProto; None if they are too many, elsewhere, or of a type that cannot be served."""
    name, field = _TYPES.get(tensor.data_type, ("", ""))
    if not name or tensor.data_location == _EXTERNAL:
        return None
    dtype, shape = NUMPY_TYPES[name], tuple(tensor.dims)
    if math.prod(shape) * dtype.itemsize > BYTES_MAX:
        return None
    if name == "DT_STRING":
        array = np.empty(len(tensor.string_data), np.object_)
        array[:] = list(tensor.string_data)
        return array.reshape(shape)
    if tensor.raw_data:
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    values = np.array(getattr(tensor, field), np.int64 if field == "int32_data" else None)
    if name in _BITS:
        return values.astype(np.uint16).view(dtype).reshape(shape)
    return values.astype(dtype).reshape(shape)
