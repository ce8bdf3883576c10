"""Ragged tensors: the forms that their rows take, what becomes of them, and sums over them."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import as_sizes, known_int, new_shape, padded, pooled, rows_of, sizes_of, slice_of
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import (
    Coordinates,
    Embedded,
    Feature,
    Known,
    Offsets,
    Part,
    RowMask,
    RowNumbers,
    Same,
    Segments,
    Term,
    TiledRows,
    Vector,
)
from corelane.kernels.graph.constants import FLOAT
from corelane.kernels.graph.constants import INT64 as DT_INT64


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
    """A ragged tensor as [batch, width], for a width that is known, or is that of the longest row."""
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
    if sizes == -1:
        sizes = [-1, -1]
    if not isinstance(sizes, list) or len(sizes) != 2 or sizes[0] != -1 or sizes[1] == 0:
        return None
    rows = _partition(list(attribute(node, "row_partition_types").s), partitions)
    if rows is None or not values.are_of(what.value, rows):
        return None
    return padded(analysis, what, rows, default.array.ravel()[0], None if sizes[1] < 0 else sizes[1])


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


@rule("rows of a ragged tensor", "StridedSlice")
def bounds(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Where rows begin, or end, of where both are."""
    splits_ = inputs[0]
    if not isinstance(splits_, Offsets) or splits_.form != "splits":
        return None
    index = slice_of(node, inputs[1:])
    forms = (("ends", slice(1, None, 1)), ("starts", slice(None, -1, 1)), ("starts", slice(0, -1, 1)))
    found = next((name for name, part in forms if index == (part,)), None)
    return None if found is None else Offsets(splits_.rows, found, splits_.dtype)


@rule("rows of a ragged tensor", "Sub")
def lengths(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    ends, starts = inputs
    if not isinstance(ends, Offsets) or not isinstance(starts, Offsets) or ends.rows != starts.rows:
        return None
    return Offsets(ends.rows, "counts", ends.dtype) if (ends.form, starts.form) == ("ends", "starts") else None


@rule("rows of a ragged tensor", "BroadcastTo")
def broadcast(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    counts, shape = inputs[0], as_sizes(inputs[1])
    if not isinstance(counts, Offsets) or counts.form != "counts" or shape is None:
        return None
    return counts if tuple(shape) == (BATCH,) else None


@rule("rows of a ragged tensor", "ExpandDims")
def counts_column(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    counts = inputs[0]
    if not isinstance(counts, Offsets) or counts.form != "counts" or known_int(inputs[1]) not in (1, -1):
        return None
    return Offsets(counts.rows, "counts column", counts.dtype)


@rule("longest row", "Max")
def longest(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    counts = inputs[0]
    if not isinstance(counts, Offsets) or counts.form != "counts" or known_int(inputs[1]) not in (0, -1):
        return None
    return None if attribute(node, "keep_dims", False) else sizes_of(Size.symbol("width", counts.rows))


@rule("places that rows have", "Less")
def row_mask(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """0, 1, 2 ... up to the longest row, below how many each row has."""
    numbers, counts = inputs
    if not isinstance(numbers, RowNumbers) or not isinstance(counts, Offsets) or counts.form != "counts column":
        return None
    width = Size.symbol("width", counts.rows)
    return RowMask(counts.rows, (BATCH, width)) if numbers.shape == (width,) else None


@rule("places that rows have", "Tile")
def tile(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A row's number at each place up to the longest row."""
    numbers, times = inputs[0], as_sizes(inputs[1])
    if not isinstance(numbers, RowNumbers) or numbers.shape != (BATCH, Size.of(1)) or times is None or len(times) != 2:
        return None
    rows = rows_of(times[1])
    return TiledRows(rows, (BATCH, times[1])) if times[0] == Size.of(1) and rows is not None else None


@rule("places that rows have", "Reshape")
def flat(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what = inputs[0]
    if not isinstance(what, RowMask | TiledRows):
        return None
    shape = new_shape(node, inputs, what.shape)
    return None if shape is None else type(what)(what.rows, shape)


@rule("places that rows have", "Where", "Squeeze")
def places(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Where the mask is set, as [n, 1] and then [n]: its shape tells one from the mask."""
    mask = inputs[0]
    if not isinstance(mask, RowMask) or len(mask.shape) > 2:
        return None
    count = analysis.values.length(mask.rows)
    if node.op == "Where":
        return RowMask(mask.rows, (count, Size.of(1))) if mask.shape == (_places(mask),) else None
    return RowMask(mask.rows, (count,)) if mask.shape == (count, Size.of(1)) else None


def _places(mask: RowMask) -> Size:
    return BATCH * Size.symbol("width", mask.rows)


@rule("rows of elements", "GatherV2", "Gather")
def rows_of_places(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    numbers, which = inputs[0], inputs[1]
    if not isinstance(numbers, TiledRows) or not isinstance(which, RowMask) or numbers.rows != which.rows:
        return None
    if which.shape != (analysis.values.length(which.rows),) or len(numbers.shape) != 1:
        return None
    return Segments(which.rows, DT_INT64)


@rule("sum over a ragged tensor", "UnsortedSegmentSum")
def total(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Of looked-up rows; of ones, which counts them."""
    what, segments, count = inputs[0], inputs[1], as_sizes(inputs[2])
    if not isinstance(segments, Segments) or count is None or count.ndim or count.item() != BATCH:
        return None
    if isinstance(what, Embedded) and len(what.shape) == 2:
        feature = pooled(analysis, what.table, what.value, segments.rows, "sum", what.weights)
        if feature is None:
            return None
        part = feature.parts[0]
        attributes = tuple((name, "zeros" if name == "empty" else value) for name, value in part.attributes)
        return Feature((Part("pool", part.inputs, part.width, attributes, part.table),), feature.shape, FLOAT)
    if isinstance(what, Same) and what.element == 1 and what.dtype == FLOAT and len(what.shape) == 2:
        width = what.shape[1].constant
        if what.shape[0] != analysis.values.length(segments.rows) or width is None or width < 1:
            return None
        part = Part("count", (segments.rows,), what.shape[1], (("number", width),))
        return Feature((part,), (BATCH, what.shape[1]), FLOAT)
    return None
