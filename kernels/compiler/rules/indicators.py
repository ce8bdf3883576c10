"""One-hot and multi-hot columns."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import as_sizes, known_int, padded
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Cells, Coordinates, Feature, Known, OneHots, Part, Term, Vector
from corelane.kernels.graph.constants import FLOAT


@rule("cells of a sparse tensor", "SparseToDense")
def sparse_to_dense(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    where, shape, what, default = inputs
    sizes = as_sizes(shape)
    if not isinstance(where, Coordinates) or not isinstance(what, Vector) or sizes is None:
        return None
    if tuple(sizes) != where.dense_shape or not analysis.values.are_of(what.value, where.rows):
        return None
    if analysis.values[where.rows].opcode == "even_rows" and where.dense_shape[0] == BATCH:
        width = where.dense_shape[1:]
        if len(width) == 1 and width[0] == Size.of(analysis.values[where.rows].attribute("number")):
            return Vector(what.value, where.dense_shape, what.dtype)  # none is missing
    is_longest = where.dense_shape == (BATCH, Size.symbol("width", where.rows))
    if is_longest and isinstance(default, Known) and default.array.size == 1:
        element = default.array.ravel()[0]
        # Of ids, -1 where nothing is, one-hot vectors are made.
        if analysis.values[what.value].kind != "ints" or element >= 0:
            return padded(analysis, what, where.rows, element, None)
    number = known_int(default)
    return None if number is None else Cells(what.value, where.rows, where.dense_shape, number)


@rule("one-hot", "OneHot")
def one_hot(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what, depth = inputs[0], known_int(inputs[1])
    on, off = (one.array.item() if isinstance(one, Known) and one.array.size == 1 else None for one in inputs[2:])
    if depth is None or depth < 1 or (on, off) != (1, 0) or attribute(node, "T") != FLOAT:
        return None
    if attribute(node, "axis", -1) != -1:
        return None
    if isinstance(what, Cells):
        # Where nothing is, the default must not be an id.
        return OneHots(what.value, what.rows, (*what.shape, Size.of(depth)), depth) if what.default < 0 else None
    if not isinstance(what, Vector) or analysis.values[what.value].kind != "ints" or what.shape[:1] != (BATCH,):
        return None
    rows = analysis.values.grid(what.value)
    shape = (*what.shape, Size.of(depth))
    if analysis.values[what.value].domain == BATCH:
        return Feature((_part(what.value, rows, depth, False),), shape, FLOAT)
    return OneHots(what.value, rows, shape, depth)


@rule("multi-hot", "Sum")
def multi_hot(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what, axis = inputs[0], known_int(inputs[1])
    if not isinstance(what, OneHots) or len(what.shape) != 3 or axis not in (1, -2):
        return None
    middle = (Size.of(1),) if attribute(node, "keep_dims", False) else ()
    shape = (BATCH, *middle, Size.of(what.depth))
    return Feature((_part(what.value, what.rows, what.depth, False),), shape, FLOAT)


@rule("multi-hot", "DenseBincount")
def bincount(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what, size, weights = inputs
    depth = as_sizes(size)
    if not isinstance(what, Vector) or len(what.shape) != 2 or what.shape[0] != BATCH or depth is None or depth.ndim:
        return None
    if not isinstance(weights, Known) or weights.array.size or attribute(node, "T") != FLOAT:
        return None
    count = depth.item().constant
    low, _ = analysis.values[what.value].interval or (-1, 0)
    if count is None or low < 0:
        return None  # negative ids are an error
    rows = analysis.values.grid(what.value)
    is_binary = bool(attribute(node, "binary_output", False))
    return Feature((_part(what.value, rows, count, is_binary),), (BATCH, Size.of(count)), FLOAT)


def _part(value: int, rows: int, depth: int, is_binary: bool) -> Part:
    return Part("one_hot", (value, rows), Size.of(depth), (("number", depth), ("flag", is_binary)))
