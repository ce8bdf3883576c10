"""Rows of several elements: filtering them, filling empty ones, and the forms that sparse and ragged tensors take."""

from typing import Any

from kernels.compiler.analysis import Analysis, attribute, rule
from kernels.compiler.rules.shapes import as_sizes, known_int, sizes_of, slice_of
from kernels.compiler.sizes import BATCH, Size
from kernels.compiler.terms import Coordinates, Known, Offsets, Places, Positions, Segments, Term, Vector
from kernels.compiler.values import operand
from kernels.graph.constants import BOOL
from kernels.graph.constants import INT64 as DT_INT64


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


@rule("rows of a ragged tensor", "DenseBincount")
def bincount(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    segments, size, weights = inputs[0], as_sizes(inputs[1]), inputs[2]
    if not isinstance(segments, Segments) or size is None or size.ndim or size.item() != BATCH:
        return None
    if not isinstance(weights, Known) or weights.array.size or attribute(node, "binary_output", False):
        return None
    return Offsets(segments.rows, "counts", attribute(node, "T"))


@rule("rows of a ragged tensor", "Cumsum")
def cumsum(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    counts = inputs[0]
    if not isinstance(counts, Offsets) or counts.form != "counts" or known_int(inputs[1]) != 0:
        return None
    if attribute(node, "exclusive", False) or attribute(node, "reverse", False):
        return None
    return Offsets(counts.rows, "ends", counts.dtype)


@rule("rows of a ragged tensor", "ConcatV2")
def splits(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if len(inputs) != 3 or known_int(inputs[0]) != 0 or known_int(inputs[2]) != 0:
        return None
    ends = inputs[1]
    return Offsets(ends.rows, "splits", ends.dtype) if isinstance(ends, Offsets) and ends.form == "ends" else None


@rule("rows of a ragged tensor", "Cast")
def cast_offsets(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    found = inputs[0]
    if not isinstance(found, Offsets) or attribute(node, "DstT") not in (3, DT_INT64):
        return None
    return Offsets(found.rows, found.form, attribute(node, "DstT"))


@rule("padded sequence", "RaggedTensorToTensor")
def pad(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A ragged tensor as [batch, width], for a width that is known."""
    shape, what, default, *partitions = inputs
    values = analysis.values
    if (
        not isinstance(what, Vector)
        or len(what.shape) != 1
        or not isinstance(default, Known)
        or default.array.size != 1
    ):
        return None
    sizes = shape.array.tolist() if isinstance(shape, Known) else None
    if not isinstance(sizes, list) or len(sizes) != 2 or sizes[0] != -1 or sizes[1] < 1:
        return None
    rows = _partition(list(attribute(node, "row_partition_types").s), partitions)
    if rows is None or not values.are_of(what.value, rows):
        return None
    kind, element = values[what.value].kind, default.array.ravel()[0]
    default_of = operand(kind, element, ints="other")
    padded = values.add("pad", (what.value, rows), kind=kind, domain=BATCH * sizes[1], number=sizes[1], **default_of)
    return Vector(padded, (BATCH, Size.of(sizes[1])), what.dtype)


def _partition(types: list[bytes], partitions: list[Term]) -> int | None:
    """The rows that a ragged tensor of one ragged axis has."""
    if types == [b"ROW_SPLITS"] and isinstance(partitions[0], Offsets):
        return partitions[0].rows if partitions[0].form == "splits" else None
    if types == [b"FIRST_DIM_SIZE", b"VALUE_ROWIDS"] and isinstance(partitions[1], Segments):
        size = as_sizes(partitions[0])
        return partitions[1].rows if size is not None and size.ndim == 0 and size.item() == BATCH else None
    return None


@rule("sparse from ragged", "RaggedTensorToSparse")
def ragged_to_sparse(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    if len(inputs) != 2:
        return None
    splits_, what = inputs
    if not isinstance(splits_, Offsets) or splits_.form != "splits" or not isinstance(what, Vector):
        return None
    if not analysis.values.are_of(what.value, splits_.rows) or len(what.shape) != 1:
        return None
    shape = (BATCH, Size.symbol("width", splits_.rows))
    return [Coordinates(splits_.rows, shape), what, sizes_of(list(shape))]
