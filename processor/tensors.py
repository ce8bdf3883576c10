"""Tensor types and signatures, as every engine describes them."""

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

# The wire's name of each element type, and how numpy holds it. Strings are bytes in arrays of objects.
NUMPY_TYPES: dict[str, np.dtype] = {
    "DT_FLOAT": np.dtype(np.float32),
    "DT_DOUBLE": np.dtype(np.float64),
    "DT_HALF": np.dtype(np.float16),
    "DT_BFLOAT16": np.dtype(ml_dtypes.bfloat16),
    "DT_INT8": np.dtype(np.int8),
    "DT_INT16": np.dtype(np.int16),
    "DT_INT32": np.dtype(np.int32),
    "DT_INT64": np.dtype(np.int64),
    "DT_UINT8": np.dtype(np.uint8),
    "DT_UINT16": np.dtype(np.uint16),
    "DT_UINT32": np.dtype(np.uint32),
    "DT_UINT64": np.dtype(np.uint64),
    "DT_BOOL": np.dtype(np.bool_),
    "DT_COMPLEX64": np.dtype(np.complex64),
    "DT_COMPLEX128": np.dtype(np.complex128),
    "DT_STRING": np.dtype(np.object_),
}

# The short names that error messages and listings use.
SHORT_NAMES = {
    name: {"DT_BFLOAT16": "bfloat16", "DT_STRING": "string", "DT_FLOAT": "float", "DT_DOUBLE": "double"}.get(
        name, name.removeprefix("DT_").lower()
    )
    for name in NUMPY_TYPES
}

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a signature.

    `dtype` is a key of NUMPY_TYPES. `shape` has -1 for an unknown dimension and is None where the rank is unknown.
    `engine_name` is what the engine calls the tensor (`serving_default_x:0`); `default` stands in for a missing input.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    engine_name: str
    default: np.ndarray | None = None

    def accepts(self, shape: tuple[int, ...]) -> bool:
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to call a model: named inputs to named outputs."""

    name: str
    method: str = PREDICT_METHOD
    inputs: dict[str, TensorSpec] = field(default_factory=dict)
    outputs: dict[str, TensorSpec] = field(default_factory=dict)


def wire_type(array: np.ndarray) -> str:
    """The wire's name of an array's element type; ValueError if it has none."""
    if array.dtype.kind in "OSU":
        return "DT_STRING"
    for name, dtype in NUMPY_TYPES.items():
        if array.dtype == dtype:
            return name
    raise ValueError(f"arrays of {array.dtype} cannot be sent; use one of {', '.join(sorted(SHORT_NAMES.values()))}")


def generated_inputs(signature: Signature) -> dict[str, np.ndarray]:
    """Inputs of the right types: defaults, else zeros and empty strings, one where a size is unknown."""
    return {name: _generated(spec) for name, spec in signature.inputs.items()}


def _generated(spec: TensorSpec) -> np.ndarray:
    if spec.default is not None:
        return spec.default
    shape = [1 if size == -1 else size for size in spec.shape or ()]
    return np.full(shape, b"" if spec.dtype == "DT_STRING" else 0, NUMPY_TYPES[spec.dtype])
