"""Row numbers spelled out by ranges and tiles, as tf.feature_column makes coordinates of bucketized columns."""

from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import as_sizes, known_int, new_shape
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import CoordinateColumns, Coordinates, Known, RowNumbers, Same, Term


@rule("row numbers", "Range")
def count(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    limit = as_sizes(inputs[1])
    if known_int(inputs[0]) != 0 or known_int(inputs[2]) != 1 or limit is None or limit.ndim:
        return None
    return None if limit.item().constant is not None else RowNumbers((limit.item(),))


@rule("row numbers", "ExpandDims", "Reshape", "Squeeze")
def layout(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if not isinstance(inputs[0], RowNumbers):
        return None
    shape = new_shape(node, inputs, inputs[0].shape)
    return None if shape is None else RowNumbers(shape)


@rule("row numbers", "Tile")
def tile(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A row's number for each of its cells; the only column's number, 0, for each row."""
    what, times = inputs[0], as_sizes(inputs[1])
    if times is None:
        return None
    if isinstance(what, RowNumbers) and what.shape == (BATCH, Size.of(1)) and list(times) == [Size.of(1), Size.of(1)]:
        return what
    if isinstance(what, Known) and what.array.shape == (1,) and list(times) == [BATCH]:
        return Same(what.array.item(), (BATCH,), 3)
    return None


@rule("row numbers", "Mul")
def scale(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    for what, by in (inputs, inputs[::-1]):
        factor = known_int(by)
        if isinstance(what, Same) and factor is not None and isinstance(what.element, int):
            return Same(what.element * factor, what.shape, what.dtype)
    return None


@rule("row numbers", "Pack")
def pack(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if len(inputs) != 2 or attribute(node, "axis", 0) != 0:
        return None
    rows, columns = inputs
    if not isinstance(rows, RowNumbers) or rows.shape != (BATCH,):
        return None
    if not isinstance(columns, Same) or columns.element != 0 or columns.shape != (BATCH,):
        return None
    return CoordinateColumns(1)


@rule("row numbers", "Transpose")
def transpose(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    what, order = inputs
    if not isinstance(what, CoordinateColumns) or not isinstance(order, Known):
        return None
    if not np.array_equal(order.array, [1, 0]):
        return None
    return Coordinates(analysis.values.even_rows(what.width), (BATCH, Size.of(what.width)))


@rule("row numbers", "Cast")
def cast(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    is_one = isinstance(inputs[0], Coordinates | RowNumbers | CoordinateColumns)
    return inputs[0] if is_one and attribute(node, "DstT") in (3, 9) else None
