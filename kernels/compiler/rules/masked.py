"""Sums and means over padded sequences of looked-up rows, with a mask of ones and zeros or without one."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import known_int
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Feature, KeptCounts, MaskedRows, Part, Term, Vector
from corelane.kernels.graph.constants import FLOAT


@rule("masked rows", "Mul")
def mask_rows(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """[batch, length, dimension] times a mask of [batch, length, 1]."""
    for feature, mask in (inputs, inputs[::-1]):
        if not isinstance(feature, Feature) or not isinstance(mask, Vector) or len(feature.shape) != 3:
            continue
        part = feature.parts[0]
        is_mask = analysis.values[mask.value].kind == "ints" and analysis.values[mask.value].interval in _BITS
        if not is_mask or len(feature.parts) > 1 or part.opcode != "gather" or part.table is None:
            continue
        if mask.shape == (*feature.shape[:2], Size.of(1)) and _has_cells(analysis, part.inputs[0], feature):
            return MaskedRows(part.table, part.inputs[0], mask.value, feature.shape)
    return None


_BITS = ((0, 1), (0, 0), (1, 1))


def _has_cells(analysis: Analysis, value: int, feature: Feature) -> bool:
    """Whether a lookup has one row of the table for each place of its second axis."""
    return analysis.values[value].domain == BATCH * feature.shape[1]


@rule("sum over a sequence", "Sum")
def total(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what = inputs[0]
    if known_int(inputs[1]) not in (1, -2) or attribute(node, "keep_dims", False):
        return None
    values = analysis.values
    if isinstance(what, MaskedRows):
        rows = values.keep_rows(values.grid(what.value), what.mask)
        ids = values.keep(what.value, what.mask, rows)
        return _pooled(what.table, ids, rows, "sum", what.shape[2])
    if isinstance(what, Vector) and what.dtype == FLOAT and len(what.shape) == 3 and what.shape[2] == Size.of(1):
        if values[what.value].interval not in _BITS or values[what.value].kind != "ints":
            return None
        return KeptCounts(values.keep_rows(values.grid(what.value), what.value), (BATCH, Size.of(1)))
    return _unmasked(analysis, what, "sum")


@rule("mean over a sequence", "Mean")
def mean(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if known_int(inputs[1]) not in (1, -2) or attribute(node, "keep_dims", False):
        return None
    return _unmasked(analysis, inputs[0], "mean")


def _unmasked(analysis: Analysis, what: Term, combiner: str) -> Feature | None:
    if not isinstance(what, Feature) or len(what.shape) != 3 or len(what.parts) > 1:
        return None
    part = what.parts[0]
    length = what.shape[1].constant
    if part.opcode != "gather" or part.table is None or length is None or length < 1:
        return None
    if not _has_cells(analysis, part.inputs[0], what):
        return None
    return _pooled(part.table, part.inputs[0], analysis.values.grid(part.inputs[0]), combiner, what.shape[2])


@rule("mean over a sequence", "DivNoNan")
def masked_mean(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    feature, counts = inputs
    if not isinstance(feature, Feature) or not isinstance(counts, KeptCounts) or len(feature.parts) > 1:
        return None
    part = feature.parts[0]
    if part.opcode != "pool" or dict(part.attributes)["combiner"] != "sum" or part.inputs[1] != counts.rows:
        return None
    assert part.table is not None, "it is a lookup"
    ids, rows = part.inputs
    return _pooled(part.table, ids, rows, "mean", part.width)


def _pooled(table: Any, ids: int, rows: int, combiner: str, width: Size) -> Feature:
    part = Part("pool", (ids, rows), width, (("combiner", combiner), ("empty", "zeros")), table)
    return Feature((part,), (BATCH, width), FLOAT)
