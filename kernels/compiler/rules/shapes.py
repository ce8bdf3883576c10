"""Arithmetic on shapes, which folds away: shapes follow from the inputs' axes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import as_sizes, known_int, rows_of, sizes_of, slice_of
from corelane.kernels.compiler.sizes import Size, product
from corelane.kernels.compiler.terms import AtLeast, Coordinates, Known, Sizes, Term, shape_of

_INT_TYPES = (3, 9)


@rule("shape", "Shape")
def shape(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    found = shape_of(inputs[0])
    return None if found is None else sizes_of(list(found))


@rule("size", "Size")
def size(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    found = shape_of(inputs[0])
    return None if found is None else sizes_of(product(found))


@rule("slice of a shape", "StridedSlice")
def strided_slice(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    values = as_sizes(inputs[0])
    index = slice_of(node, inputs[1:])
    if values is None or values.ndim != 1 or index is None or len(index) != 1:
        return None
    found = values[index[0]]
    return sizes_of(found)


@rule("slice of a shape", "Slice")
def plain_slice(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    values, begin, length = as_sizes(inputs[0]), known_int(inputs[1]), known_int(inputs[2])
    if values is None or values.ndim != 1 or begin is None or length is None:
        return None
    return sizes_of(values[begin : None if length == -1 else begin + length])


@rule("shape from sizes", "Pack")
def pack(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    parts: list[Any] = [as_sizes(one) for one in inputs]
    if any(part is None or part.ndim for part in parts):
        return None
    return sizes_of([part[()] for part in parts])


@rule("shape from shapes", "ConcatV2")
def concat(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    parts = [as_sizes(one) for one in inputs[:-1]]
    if any(part is None or part.ndim != 1 for part in parts):
        return None
    return sizes_of([size for part in parts if part is not None for size in part])


@rule("pick of a shape", "GatherV2", "Gather")
def gather(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    values, index = as_sizes(inputs[0]), inputs[1]
    if values is None or values.ndim != 1 or not isinstance(index, Known) or index.array.ndim > 1:
        return None
    if any(not 0 <= int(one) < len(values) for one in index.array.ravel()):
        return None
    return sizes_of(values[index.array])


@rule("cast of a shape", "Cast")
def cast(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if attribute(node, "DstT") not in _INT_TYPES or not isinstance(inputs[0], Sizes):
        return None
    return inputs[0]


@rule("layout of sizes", "Reshape", "ExpandDims", "Squeeze")
def reshape(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if not isinstance(inputs[0], Sizes) or inputs[0].values.size != 1:
        return None
    one = inputs[0].values.ravel()[0]
    if node.op == "Squeeze":
        return sizes_of(one)
    if node.op == "ExpandDims":
        return sizes_of([one]) if inputs[0].values.ndim == 0 else None
    wanted = inputs[1].array if isinstance(inputs[1], Known) else None
    if wanted is None or wanted.size > 1:
        return None
    return sizes_of([one]) if wanted.size else sizes_of(one)


@rule("product of a shape", "Prod")
def prod(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    values = as_sizes(inputs[0])
    if values is None or values.ndim != 1 or known_int(inputs[1]) not in (0, -1):
        return None
    found = product(tuple(values))
    return sizes_of([found]) if attribute(node, "keep_dims", False) else sizes_of(found)


_ARITHMETIC: dict[str, Callable[[Size, Size], Size]] = {
    "Mul": lambda a, b: a * b,
    "Add": lambda a, b: a + b,
    "AddV2": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
}


@rule("arithmetic on sizes", *_ARITHMETIC)
def arithmetic(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    left, right = as_sizes(inputs[0]), as_sizes(inputs[1])
    if left is None or right is None or not any(isinstance(one, Sizes) for one in inputs):
        return None
    compute = np.frompyfunc(_ARITHMETIC[node.op], 2, 1)
    found = compute(left, right)
    return sizes_of(found)


@rule("bounds of a size", "Maximum", "Minimum")
def bounds(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """The least of n and of what is n at least is n; the longest row has no less than no element."""
    for one, other in (inputs, inputs[::-1]):
        longest = as_sizes(other)
        if node.op != "Maximum" or known_int(one) != 0 or longest is None or longest.ndim:
            continue
        if rows_of(longest.item()) is not None:
            return other
    for index, one in enumerate(inputs):
        other, sizes = inputs[1 - index], as_sizes(one)
        if sizes is None or sizes.ndim:
            continue
        if node.op == "Maximum":
            return AtLeast(sizes.item())
        if isinstance(other, AtLeast) and other.size == sizes.item():
            return one
    return None


@rule("shape of sparse coordinates", "SparseReshape")
def sparse_reshape(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    """The same shape again, in other words."""
    coordinates, old, new = inputs[0], as_sizes(inputs[1]), as_sizes(inputs[2])
    if not isinstance(coordinates, Coordinates) or old is None or new is None:
        return None
    if tuple(old) != coordinates.dense_shape:
        return None
    wanted = list(new)
    if wanted.count(Size.of(-1)) == 1:
        rest = product(tuple(one for one in wanted if one != Size.of(-1)))
        resolved = product(coordinates.dense_shape).divided_by(rest)
        if resolved is None:
            return None
        wanted[wanted.index(Size.of(-1))] = resolved
    if tuple(wanted) != coordinates.dense_shape:
        return None
    return [coordinates, sizes_of(wanted)]
