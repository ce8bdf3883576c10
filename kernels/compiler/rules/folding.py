"""Ops on constants, computed once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.terms import Known, Term

_TYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_}
_ELEMENTS_MAX = 1 << 16
_OPS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Less": np.less,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "Reshape": lambda what, shape: what.reshape(shape),
    "ExpandDims": lambda what, axis: np.expand_dims(what, int(axis)),
    "Fill": lambda shape, value: np.full(shape, value),
}


def _arrays(inputs: list[Term]) -> list[np.ndarray] | None:
    arrays = [one.array for one in inputs if isinstance(one, Known)]
    if len(arrays) < len(inputs) or not inputs or sum(array.size for array in arrays) > _ELEMENTS_MAX:
        return None
    return arrays


@rule("constant", *_OPS)
def fold(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    arrays = _arrays(inputs)
    if arrays is None or (arrays[0].dtype == object and node.op not in ("Reshape", "ExpandDims")):
        return None
    with np.errstate(all="ignore"):
        found = np.asarray(_OPS[node.op](*arrays))
    return Known(found) if found.size <= _ELEMENTS_MAX else None


@rule("constant", "Cast")
def cast(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    arrays, to = _arrays(inputs), attribute(node, "DstT")
    if arrays is None or to not in _TYPES or arrays[0].dtype == object:
        return None
    with np.errstate(all="ignore"):
        return Known(arrays[0].astype(_TYPES[to]))


@rule("constant", "Pack")
def pack(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    arrays = _arrays(inputs)
    return None if arrays is None else Known(np.stack(arrays, attribute(node, "axis", 0)))


@rule("constant", "ConcatV2")
def concat(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    arrays = _arrays(inputs)
    return None if arrays is None else Known(np.concatenate(arrays[:-1], int(arrays[-1])))


@rule("constant", "Range")
def count(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    arrays = _arrays(inputs)
    if arrays is None:
        return None
    start, limit, step = (array.item() for array in arrays)
    if step == 0 or abs((limit - start) / step) > _ELEMENTS_MAX:
        return None
    return Known(np.arange(start, limit, step, dtype=_TYPES[attribute(node, "Tidx")]))
