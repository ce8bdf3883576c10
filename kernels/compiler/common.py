"""What rules read from terms and make of them, whichever op they are about."""

from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute
from corelane.kernels.compiler.sizes import BATCH, Size, product
from corelane.kernels.compiler.terms import Feature, Known, Part, Same, Shape, Sizes, Table, Term, Vector
from corelane.kernels.compiler.values import operand
from corelane.kernels.graph.constants import FLOAT


def known_int(term: Term) -> int | None:
    if isinstance(term, Known) and term.array.size == 1 and term.array.dtype.kind == "i":
        return int(term.array.ravel()[0])
    return None


def as_sizes(term: Term) -> np.ndarray | None:
    """The sizes in a tensor of at most one axis; of constants, too."""
    if isinstance(term, Sizes):
        return term.values
    if isinstance(term, Same) and len(term.shape) == 1 and isinstance(term.element, int):
        count = term.shape[0].constant
        return None if count is None else sizes_of([Size.of(term.element)] * count).values
    if isinstance(term, Known) and term.array.ndim <= 1 and term.array.dtype.kind == "i" and term.array.size <= 64:
        found = np.empty(term.array.shape, object)
        found[...] = np.vectorize(Size.of, otypes=[object])(term.array) if term.array.size else found
        return found
    return None


def sizes_of(values: list[Size] | np.ndarray | Size) -> Sizes:
    if isinstance(values, Size):
        scalar = np.empty((), object)
        scalar[()] = values
        return Sizes(scalar)
    found = np.empty(len(values), object)
    found[:] = list(values)
    return Sizes(found)


def rows_of(width: Size) -> int | None:
    """The rows whose longest is so long, if it is that."""
    if len(width.terms) != 1 or width.terms[0][1] != 1 or len(width.terms[0][0]) != 1:
        return None
    symbol = width.terms[0][0][0]
    return int(symbol[1]) if symbol[0] == "width" else None


def slice_of(node: Any, bounds: list[Term]) -> tuple[int | slice | None, ...] | None:
    """The index of a StridedSlice as numpy has it, for constant bounds and without an ellipsis."""
    begin, end, strides = (one.array if isinstance(one, Known) else None for one in bounds)
    if begin is None or end is None or strides is None or attribute(node, "ellipsis_mask", 0):
        return None
    masks = {name: attribute(node, f"{name}_mask", 0) for name in ("begin", "end", "shrink_axis", "new_axis")}
    found: list[int | slice | None] = []
    for axis in range(len(begin)):
        if masks["new_axis"] >> axis & 1:
            found.append(None)
        elif masks["shrink_axis"] >> axis & 1:
            found.append(int(begin[axis]))
        else:
            first = None if masks["begin"] >> axis & 1 else int(begin[axis])
            last = None if masks["end"] >> axis & 1 else int(end[axis])
            found.append(slice(first, last, int(strides[axis])))
    return tuple(found)


def new_shape(node: Any, inputs: list[Term], shape: Shape) -> Shape | None:
    """What Reshape, ExpandDims and Squeeze make of a shape."""
    one = Size.of(1)
    if node.op == "Squeeze":
        axes = [axis % len(shape) for axis in attribute(node, "squeeze_dims").i] if "squeeze_dims" in node.attr else []
        if not axes:
            axes = [axis for axis, size in enumerate(shape) if size == one]
            if any(size.constant is None and size != BATCH for size in shape):
                return None  # a size that happens to be 1 would go, too
            if shape and shape[0] == BATCH and not axes:
                return shape
        if any(shape[axis] != one for axis in axes):
            return None
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)
    if node.op == "ExpandDims":
        axis = known_int(inputs[1])
        if axis is None:
            return None
        axis = axis % (len(shape) + 1)
        return (*shape[:axis], one, *shape[axis:])
    wanted = as_sizes(inputs[1])
    if wanted is None or wanted.ndim != 1:
        return None
    sizes = [Size.of(size) for size in wanted]
    if sizes.count(Size.of(-1)) == 1:
        rest = product(tuple(size for size in sizes if size != Size.of(-1)))
        resolved = product(shape).divided_by(rest)
        if resolved is None:
            return None
        sizes[sizes.index(Size.of(-1))] = resolved
    return tuple(sizes) if product(tuple(sizes)) == product(shape) else None


def padded(analysis: Analysis, what: Vector, rows: int, default: Any, width: int | None) -> Vector:
    """The elements of rows as [batch, width], with a default where there are none; as wide as the longest row without
    a width."""
    values = analysis.values
    size = Size.symbol("width", rows) if width is None else Size.of(width)
    kind = values[what.value].kind
    element = operand(kind, default, ints="other")
    number = -1 if width is None else width
    found = values.add("pad", (what.value, rows), kind=kind, domain=BATCH * size, number=number, **element)
    return Vector(found, (BATCH, size), what.dtype)


def as_feature(analysis: Analysis, term: Term) -> Feature | None:
    """A feature, or what can be copied to be one: a dense tensor of numbers, row by row."""
    if isinstance(term, Feature):
        return term
    if not isinstance(term, Vector) or term.shape[:1] != (BATCH,):
        return None
    value = analysis.values[term.value]
    if isinstance(value.domain, int) or value.kind == "strings":
        return None
    shape: Shape = term.shape
    opcode = "copy" if value.kind == "floats" else "copy_as_floats" if term.dtype == FLOAT else "copy_ints"
    return Feature((Part(opcode, (term.value,), product(shape[1:])),), shape, term.dtype)


def pooled(
    analysis: Analysis, table: Table, value: int, rows: int, combiner: str, weights: int | None = None
) -> Feature | None:
    if not analysis.values.are_of(value, rows) or analysis.values[value].kind != "ints":
        return None
    inputs = (value, rows) if weights is None else (value, rows, weights)
    attributes = (("combiner", combiner), ("empty", "error"))
    width = Size.of(table.dimension)
    return Feature((Part("pool", inputs, width, attributes, table),), (BATCH, width), FLOAT)
