"""Embedding tables, rows of them, and sums of those rows."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import known_int, pooled
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import (
    Embedded,
    Feature,
    Known,
    Part,
    Places,
    Same,
    Segments,
    Shape,
    Share,
    ShareOfRows,
    Sizes,
    Squares,
    Table,
    Term,
    Vector,
    WeightSums,
)
from corelane.kernels.graph.constants import FLOAT

_COMBINERS = {
    "SparseSegmentSum": "sum",
    "SparseSegmentMean": "mean",
    "SparseSegmentSqrtN": "sqrtn",
    "SegmentSum": "sum",
    "SegmentMean": "mean",
    "SegmentSumV2": "sum",
}


@rule("embedding table", "VarHandleOp", "VariableV2", "Variable")
def variable(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    shape = node.attr["shape"].shape
    sizes = [dim.size for dim in shape.dim]
    if attribute(node, "dtype") != FLOAT or shape.unknown_rank or len(sizes) != 2 or min(sizes) < 1:
        return None
    return Table(node.name, True, sizes[0], sizes[1], is_handle=node.op == "VarHandleOp")


@rule("embedding table", "ReadVariableOp")
def read(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if not isinstance(inputs[0], Table):
        return None
    return Table(inputs[0].source, True, inputs[0].rows, inputs[0].dimension)


def as_table(analysis: Analysis, node: Any, position: int, term: Term) -> Table | None:
    """A table to look rows up in: a variable's, or a constant's."""
    if isinstance(term, Table):
        return term
    if isinstance(term, Known) and term.array.ndim == 2 and term.array.dtype == "float32" and term.array.size:
        name = node.input[position].split(":")[0]
        analysis.constants[name] = term.array
        return Table(name, False, term.array.shape[0], term.array.shape[1])
    return None


@rule("lookup", "GatherV2", "Gather", "ResourceGather")
def lookup(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    table = as_table(analysis, node, 0, inputs[0])
    ids = inputs[1]
    if node.op == "GatherV2" and (known_int(inputs[2]) != 0 or attribute(node, "batch_dims", 0)):
        return None
    if table is None or table.is_handle != (node.op == "ResourceGather"):
        return None
    table = Table(table.source, table.is_variable, table.rows, table.dimension)
    dimension = Size.of(table.dimension)
    if isinstance(ids, Share):
        return None if ids.value is None else ShareOfRows(table, ids)
    if not isinstance(ids, Vector) or analysis.values[ids.value].kind != "ints":
        return None
    shape = (*ids.shape, dimension)
    if isinstance(analysis.values[ids.value].domain, int) or analysis.values[ids.value].opcode == "distinct":
        return Embedded(table, ids.value, shape)
    if ids.shape[:1] != (BATCH,):
        return None
    return gathered(table, ids.value, shape)


def gathered(table: Table, value: int, shape: Shape) -> Feature:
    width = Size.of(1)
    for size in shape[1:]:
        width = width * size
    return Feature((Part("gather", (value,), width, table=table),), shape, FLOAT)


@rule("lookup of each element", "GatherV2", "Gather")
def spread(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """The rows of distinct ids, given back to each element."""
    rows, index = inputs[0], inputs[1]
    if not isinstance(rows, Embedded) or not isinstance(index, Places):
        return None
    if not _are_distinct(analysis, rows, index):
        return None
    shape = (analysis.values.length(analysis.values[index.value].domain), Size.of(rows.table.dimension))
    return Embedded(rows.table, index.value, shape)


def _are_distinct(analysis: Analysis, rows: Embedded, index: Places) -> bool:
    """Whether those are the rows of the elements that the index is of."""
    value = analysis.values[rows.value]
    return value.opcode == "distinct" and value.inputs == (index.value,) and rows.weights is None


@rule("sum of rows", *(op for op in _COMBINERS if op.startswith("Sparse")))
def pool(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    table, ids, segments = inputs[0], inputs[1], inputs[2]
    if not isinstance(segments, Segments):
        return None
    if isinstance(table, Embedded) and isinstance(ids, Places):
        value = ids.value if _are_distinct(analysis, table, ids) else None
        found: Table | None = table.table
    else:
        found = as_table(analysis, node, 0, table)
        value = ids.value if isinstance(ids, Vector) else None
    if found is None or found.is_handle or value is None:
        return None
    return pooled(analysis, found, value, segments.rows, _COMBINERS[node.op])


@rule("sum of rows", *(op for op in _COMBINERS if not op.startswith("Sparse")))
def pool_embedded(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    rows, segments = inputs[0], inputs[1]
    if isinstance(segments, Segments) and isinstance(rows, Vector | Squares):
        return _weight_sums(analysis, rows, segments) if node.op.startswith("SegmentSum") else None
    if not isinstance(rows, Embedded) or not isinstance(segments, Segments):
        return None
    if rows.weights is not None and not node.op.startswith("SegmentSum"):
        return None
    return pooled(analysis, rows.table, rows.value, segments.rows, _COMBINERS[node.op], rows.weights)


def _weight_sums(analysis: Analysis, weights: Vector | Squares, segments: Segments) -> Term | None:
    count = analysis.values.length(segments.rows)
    if analysis.values[weights.value].kind != "floats" or not analysis.values.are_of(weights.value, segments.rows):
        return None
    if weights.shape not in ((count,), (count, Size.of(1))):
        return None
    form = "squares" if isinstance(weights, Squares) else "sum"
    return WeightSums(weights.value, segments.rows, form, (BATCH, *weights.shape[1:]))


@rule("weighted rows", "Mul")
def weigh(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """Looked-up rows, each times its weight."""
    for rows, weights in (inputs, inputs[::-1]):
        if not isinstance(rows, Embedded) or not isinstance(weights, Vector) or rows.weights is not None:
            continue
        value = analysis.values[weights.value]
        if value.kind != "floats" or value.domain != analysis.values[rows.value].domain or len(rows.shape) != 2:
            continue
        if weights.shape == (rows.shape[0], Size.of(1)):
            return Embedded(rows.table, rows.value, rows.shape, weights.value)
    return None


@rule("squared weights", "Square", "Pow")
def square(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    weights = inputs[0]
    if not isinstance(weights, Vector) or analysis.values[weights.value].kind != "floats":
        return None
    if node.op == "Pow" and not (isinstance(inputs[1], Known) and inputs[1].array.size == 1 and inputs[1].array == 2):
        return None
    return Squares(weights.value, weights.shape)


@rule("squared weights", "Sqrt")
def root(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    sums = inputs[0]
    if not isinstance(sums, WeightSums) or sums.form != "squares":
        return None
    return WeightSums(sums.weights, sums.rows, "root", sums.shape)


@rule("weighted mean of rows", "DivNoNan")
def weighted_mean(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    feature, sums = inputs
    if not isinstance(feature, Feature) or not isinstance(sums, WeightSums) or len(feature.parts) > 1:
        return None
    part = feature.parts[0]
    if part.opcode != "pool" or part.inputs[1:] != (sums.rows, sums.weights) or sums.shape != (BATCH, Size.of(1)):
        return None
    if sums.form == "squares" or dict(part.attributes)["combiner"] != "sum":
        return None
    combiner = "mean" if sums.form == "sum" else "sqrtn"
    attributes = tuple((name, combiner if name == "combiner" else value) for name, value in part.attributes)
    return Feature((Part("pool", part.inputs, part.width, attributes, part.table),), feature.shape, FLOAT)


@rule("zeros for empty rows", "Select", "SelectV2")
def zeros_for_empty(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A lookup of filled rows whose filling is thrown away: a lookup that knows empty rows."""
    mask, zeros, feature = inputs
    values = analysis.values
    if not isinstance(feature, Feature) or len(feature.parts) != 1 or not isinstance(zeros, Same) or zeros.element != 0:
        return None
    part = feature.parts[0]
    if not isinstance(mask, Vector) or part.opcode != "pool" or zeros.shape != feature.shape:
        return None
    if mask.shape not in ((BATCH,), (BATCH, Size.of(1)), feature.shape):
        return None
    test, ids, rows = values[mask.value], values[part.inputs[0]], values[part.inputs[1]]
    if test.opcode != "is_empty" or rows.opcode != "fill_rows" or ids.opcode != "fill":
        return None
    if not test.inputs == rows.inputs == ids.inputs[1:]:
        return None
    inside: tuple[int, ...] = (ids.inputs[0], rows.inputs[0])
    for weights in part.inputs[2:]:
        if values[weights].opcode != "fill" or values[weights].inputs[1:] != rows.inputs:
            return None
        inside = (*inside, values[weights].inputs[0])
    attributes = tuple((name, "zeros" if name == "empty" else value) for name, value in part.attributes)
    return Feature((Part("pool", inside, part.width, attributes, part.table),), feature.shape, FLOAT)


@rule("mask for each column", "Tile")
def tile(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A mask of rows, for each element of them."""
    mask, times = inputs
    if not isinstance(mask, Vector) or mask.shape != (BATCH, Size.of(1)):
        return None
    if analysis.values[mask.value].opcode != "is_empty":
        return None
    by = times.values if isinstance(times, Sizes) else times.array if isinstance(times, Known) else None
    if by is None or len(by) != 2 or Size.of(by[0]) != Size.of(1):
        return None
    return Vector(mask.value, (BATCH, Size.of(by[1])), mask.dtype)
