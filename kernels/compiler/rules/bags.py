"""Rows of several elements: filtering them, filling empty ones, and the rows that elements are of."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import known_int, slice_of
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Coordinates, Known, Places, Positions, Segments, Term, Vector
from corelane.kernels.compiler.values import operand
from corelane.kernels.graph.constants import BOOL
from corelane.kernels.graph.constants import INT64 as DT_INT64


@rule("filter of elements", "GatherV2", "Gather")
def filtered(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what, which = inputs[0], inputs[1]
    if not isinstance(which, Positions) or len(which.shape) != 1:
        return None
    values = analysis.values
    rows = values[which.rows]
    if isinstance(what, Coordinates) and what.rows == which.rows:
        return what
    if isinstance(what, Vector) and values.are_of(what.value, which.rows):
        return what
    if rows.opcode != "keep_rows":
        return None
    before, mask = rows.inputs
    if isinstance(what, Coordinates) and what.rows == before:
        return Coordinates(which.rows, what.dense_shape)
    if isinstance(what, Vector) and values.are_of(what.value, before) and len(what.shape) == 1:
        return Vector(values.keep(what.value, mask, which.rows), which.shape, what.dtype)
    return None


@rule("fill of empty rows", "SparseFillEmptyRows")
def fill_empty_rows(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    where, what, _, default = inputs
    values = analysis.values
    if not isinstance(where, Coordinates) or not isinstance(what, Vector) or not isinstance(default, Known):
        return None
    if not values.are_of(what.value, where.rows) or where.dense_shape[0] != BATCH or default.array.size != 1:
        return None
    rows = values.add("fill_rows", (where.rows,), kind="rows", domain=BATCH)
    kind, element = values[what.value].kind, default.array.ravel()[0]
    filled = values.add("fill", (what.value, where.rows), kind=kind, domain=rows, **operand(kind, element))
    empty = values.add("is_empty", (where.rows,), kind="ints", domain=BATCH)
    return [
        Coordinates(rows, where.dense_shape),
        Vector(filled, (values.length(rows),), what.dtype),
        Vector(empty, (BATCH,), BOOL),
    ]


@rule("rows of elements", "StridedSlice")
def segments(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    where = inputs[0]
    if not isinstance(where, Coordinates) or len(where.dense_shape) != 2:
        return None
    index = slice_of(node, inputs[1:])
    everything = slice(None, None, 1)
    if index == (everything, 0) or index == (slice(0, None, 1), 0):
        return Segments(where.rows, DT_INT64)
    return None


@rule("rows of elements", "Cast")
def cast_segments(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if isinstance(inputs[0], Segments) and attribute(node, "DstT") in (3, DT_INT64):
        return Segments(inputs[0].rows, attribute(node, "DstT"))
    return None


@rule("distinct elements", "Unique")
def unique(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    what = inputs[0]
    if not isinstance(what, Vector) or len(what.shape) != 1:
        return None
    count = Size.symbol("distinct", what.value)
    found = analysis.values.add("distinct", (what.value,), kind=analysis.values[what.value].kind, domain=count)
    return [Vector(found, (count,), what.dtype), Places(what.value)]


@rule("rows of elements", "Reshape")
def reshape_segments(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    return inputs[0] if isinstance(inputs[0], Segments) and known_int(inputs[1]) == -1 else None
