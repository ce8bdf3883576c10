"""Tables in several parts, as partitioned variables have them: ids are dealt out, and what is found is put together."""

from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import new_shape
from corelane.kernels.compiler.sizes import Size
from corelane.kernels.compiler.terms import Embedded, RowNumbers, Share, ShareOfRows, Table, Term, Vector
from corelane.kernels.compiler.values import Values

_ROWS_MAX = 1 << 28


@rule("share of ids", "DynamicPartition")
def deal(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    what, by = inputs
    if not isinstance(by, Vector) or len(by.shape) != 1:
        return None
    if isinstance(what, Vector):
        if what.shape != by.shape or analysis.values[what.value].domain != analysis.values[by.value].domain:
            return None
        value: int | None = what.value
    elif isinstance(what, RowNumbers) and what.shape == by.shape:
        value = None
    else:
        return None
    count = attribute(node, "num_partitions")
    return [Share(value, by.value, index, count) for index in range(count)]


@rule("one table of its parts", "ParallelDynamicStitch", "DynamicStitch")
def join(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    count = len(inputs) // 2
    places, rows = inputs[:count], inputs[count:]
    tables, shares = [], []
    for index, (place, found) in enumerate(zip(places, rows, strict=True)):
        if not isinstance(place, Share) or not isinstance(found, ShareOfRows) or place.value is not None:
            return None
        if not place.index == found.share.index == index or not place.count == found.share.count == count:
            return None
        if place.by != found.share.by:
            return None
        tables.append(found.table)
        shares.append(found.share)
    first = shares[0]
    if any((one.value, one.by) != (first.value, first.by) for one in shares) or first.value is None:
        return None
    if len({table.dimension for table in tables}) > 1 or not all(table.is_variable for table in tables):
        return None
    ordered = _order(analysis.values, first.value, first.by, [table.rows for table in tables])
    if ordered is None:
        return None
    ids, order = ordered
    source = "+".join(table.source for table in tables)
    analysis.orders[source] = order
    parts = tuple(table.source for table in tables)
    table = Table(source, True, len(order), tables[0].dimension, parts=parts)
    size = analysis.values.length(analysis.values[ids].domain)
    if analysis.values[ids].opcode == "distinct":
        size = Size.symbol("distinct", analysis.values[ids].inputs[0])
    return Embedded(table, ids, (size, Size.of(table.dimension)))


@rule("layout of rows", "Reshape")
def layout(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    rows = inputs[0]
    if not isinstance(rows, Embedded):
        return None
    return rows if new_shape(node, inputs, rows.shape) == rows.shape else None


def _order(values: Values, place: int, by: int, rows: list[int]) -> tuple[int, np.ndarray] | None:
    """The ids that both follow from, and for each of them where its row is in the parts, one after another. Found by
    trying every id."""
    total = sum(rows)
    if total > _ROWS_MAX:
        return None
    ids = _origin(values, place, by)
    if ids is None:
        return None
    low, high = values[ids].interval or (-1, 0)
    if low < 0 or high >= total:
        return None  # what becomes of ids outside depends on the arithmetic
    every = np.arange(total, dtype=np.int64)
    part, row = (_compute(values, number, ids, every) for number in (by, place))
    if part.min() < 0 or part.max() >= len(rows) or (row < 0).any() or (row >= np.array(rows)[part]).any():
        return None
    starts = np.cumsum([0, *rows[:-1]])
    return ids, starts[part] + row


def _origin(values: Values, *numbers: int) -> int | None:
    """The one value that these are computed from, element by element."""
    found = set()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if values[number].opcode in _COMPUTE:
            waiting.extend(values[number].inputs)
        else:
            found.add(number)
    return found.pop() if len(found) == 1 else None


_COMPUTE: dict[str, Any] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "floor_divide": np.floor_divide,
    "floor_mod": np.mod,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "select": np.where,
}


def _compute(values: Values, number: int, origin: int, elements: np.ndarray) -> np.ndarray:
    if number == origin:
        return elements
    value = values[number]
    operands = [_compute(values, one, origin, elements) for one in value.inputs]
    if len(operands) == 1:
        operands.append(np.array(value.attribute("number")))
    return np.asarray(_COMPUTE[value.opcode](*operands), np.int64)
