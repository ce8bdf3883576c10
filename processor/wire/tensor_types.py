"""Tensor types and signatures, as every engine describes them."""

from dataclasses import dataclass, field
from itertools import takewhile

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
# The tags of the graph that a SavedModel has for servers.
SERVE_TAGS = ("serve",)


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
    """One way to call a model: named inputs to named outputs.

    `effect` says which op changes state when the signature runs, empty if none does; only clients run a signature
    with one. `joins_rows` says why its requests never run together, empty if they may: each row of its outputs is
    then shown to depend on the same row of its inputs alone."""

    name: str
    method: str = PREDICT_METHOD
    inputs: dict[str, TensorSpec] = field(default_factory=dict)
    outputs: dict[str, TensorSpec] = field(default_factory=dict)
    effect: str = ""
    joins_rows: str = "whether its rows are independent was not looked into"


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
    found = {name: _generated(spec) for name, spec in signature.inputs.items()}
    for one in sparse_triples(signature):
        found[one.shape] = np.ones(2, np.int64)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseTriple:
    """The inputs that are a sparse tensor of rows: its indices [n, 2], its values [n] and its shape [2]."""

    indices: str
    values: str
    shape: str


def sparse_triples(signature: Signature) -> list[SparseTriple]:
    """Told by their types, and by how much of their names is the same."""

    def named(shape: tuple[int, ...], dtype: str | None) -> set[str]:
        return {name for name, spec in signature.inputs.items() if spec.shape == shape and dtype in (None, spec.dtype)}

    def nearest(name: str, among: set[str]) -> str | None:
        lengths = {other: _common(name, other) for other in among}
        most = max(lengths.values(), default=0)
        best = [other for other, length in lengths.items() if length == most]
        return best[0] if most > 0 and len(best) == 1 else None

    values, shapes = named((-1,), None), named((2,), "DT_INT64")
    found = []
    for indices in sorted(named((-1, 2), "DT_INT64")):
        value, shape = nearest(indices, values), nearest(indices, shapes)
        if value is not None and shape is not None:
            found.append(SparseTriple(indices=indices, values=value, shape=shape))
            values.discard(value)
            shapes.discard(shape)
    return found


def _common(left: str, right: str) -> int:
    """How many letters they begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _generated(spec: TensorSpec) -> np.ndarray:
    if spec.default is not None:
        return spec.default
    shape = [1 if size == -1 else size for size in spec.shape or ()]
    return np.full(shape, b"" if spec.dtype == "DT_STRING" else 0, NUMPY_TYPES[spec.dtype])
