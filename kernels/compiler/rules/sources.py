"""Where elements come from: cells of dense inputs, pieces of strings, elements of sparse ones."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import new_shape, sizes_of, slice_of
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Coordinates, Feature, Known, Positions, Shape, Term, Vector
from corelane.kernels.graph.constants import BOOL, STRING


@rule("split", "StringSplitV2")
def split_v2(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    separator = _text(inputs[1])
    if separator is None or attribute(node, "maxsplit", -1) != -1:
        return None
    return _split(analysis, inputs[0], separator, skip=False)


@rule("split", "StringSplit")
def split_v1(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    separator = _text(inputs[1])
    if not separator or not attribute(node, "skip_empty", True):
        return None
    return _split(analysis, inputs[0], separator, skip=True)


def _text(term: Term) -> bytes | None:
    if isinstance(term, Known) and term.array.size == 1 and term.array.dtype == object:
        return bytes(term.array.ravel()[0])
    return None


def _split(analysis: Analysis, text: Term, separator: bytes, *, skip: bool) -> list[Term] | None:
    if not isinstance(text, Vector) or text.shape != (BATCH,):
        return None
    values = analysis.values
    # The rows are an instruction of their own to those who use them; making either makes both.
    rows = values.add("split", (text.value,), kind="rows", domain=BATCH, text=separator, flag=skip)
    pieces = values.add("split", (text.value,), kind="strings", domain=rows, text=separator, flag=skip)
    shape = (BATCH, Size.symbol("width", rows))
    return [
        Coordinates(rows, shape),
        Vector(pieces, (values.length(rows),), STRING),
        sizes_of(list(shape)),
    ]


@rule("coordinates of what is kept", "Where")
def where(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    mask = inputs[0]
    if not isinstance(mask, Vector) or mask.dtype != BOOL:
        return None
    values = analysis.values
    domain = values[mask.value].domain
    if not isinstance(domain, int) and domain.divided_by(BATCH) is None:
        return None  # distinct elements are of no row
    rows = values.grid(mask.value)
    kept = values.keep_rows(rows, mask.value)
    if len(mask.shape) == 1:
        kept = rows if values.always(mask.value) else kept
        return Positions(kept, (values.length(kept), Size.of(1)))
    if mask.shape[0] != BATCH or len(mask.shape) != 2:
        return None
    # Even where all are kept, elements are told apart from cells: they have coordinates.
    return Coordinates(kept, mask.shape)


@rule("elements that are kept", "GatherNd")
def gather_nd(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    cells, which = inputs
    if not isinstance(cells, Vector) or not isinstance(which, Coordinates | Positions):
        return None
    is_of_cells = cells.shape == which.dense_shape if isinstance(which, Coordinates) else len(cells.shape) == 1
    values = analysis.values
    rows = values[which.rows]
    if not is_of_cells or rows.opcode != "keep_rows" or not values.are_of(cells.value, rows.inputs[0]):
        return None
    kept = values.keep(cells.value, rows.inputs[1], which.rows)
    return Vector(kept, (values.length(which.rows),), cells.dtype)


@rule("layout of cells", "Reshape", "ExpandDims", "Squeeze")
def layout(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    term = inputs[0]
    if isinstance(term, Positions) and node.op in ("Reshape", "Squeeze"):
        return Positions(term.rows, (term.shape[0],))
    if not isinstance(term, Vector):
        return None
    shape = new_shape(node, inputs, term.shape)
    return None if shape is None else Vector(term.value, shape, term.dtype)


@rule("layout of cells", "StridedSlice")
def new_axes(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """All of a tensor, with axes of 1 between."""
    term = inputs[0]
    index = slice_of(node, inputs[1:])
    if not isinstance(term, Vector | Feature) or index is None or None not in index:
        return None
    shape: list[Size] = []
    rest = list(term.shape)
    for one in index:
        if one is None:
            shape.append(Size.of(1))
        elif one == slice(None, None, 1) and rest:
            shape.append(rest.pop(0))
        else:
            return None
    shape += rest
    if isinstance(term, Feature):
        return Feature(term.parts, tuple(shape), term.dtype) if shape[0] == BATCH else None
    return Vector(term.value, tuple(shape), term.dtype)


@rule("column of cells", "StridedSlice")
def column(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """One column of [batch, n], with or without its axis."""
    term = inputs[0]
    index = slice_of(node, inputs[1:])
    if not isinstance(term, Vector) or len(term.shape) != 2 or term.shape[0] != BATCH or index is None:
        return None
    width = term.shape[1].constant
    if width is None or len(index) != 2 or index[0] not in (slice(None, None, 1), slice(0, None, 1)):
        return None
    chosen = range(width)[index[1]] if isinstance(index[1], slice) else index[1]
    if isinstance(chosen, range):
        if len(chosen) != 1:
            return None
        shape: Shape = (BATCH, Size.of(1))
        number = chosen[0]
    else:
        if chosen is None or not -width <= chosen < width:
            return None
        shape = (BATCH,)
        number = chosen % width
    value, values = term.value, analysis.values
    if width > 1:
        value = values.add("take", (value,), kind=values[value].kind, domain=BATCH, number=width, other=number)
    return Vector(value, shape, term.dtype)
