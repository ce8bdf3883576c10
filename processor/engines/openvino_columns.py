"""What OpenVINO's ops make of ids that have an offset for each column, and of negative ids that count from the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from corelane.processor.engines.openvino_ranges import Origin, Range, constant, of_columns, shape_of, type_range
from corelane.processor.engines.openvino_walk import Walk

_COLUMNS_MAX = 4096

_T = TypeVar("_T")


def shifted(walk: Walk, node: Any) -> Range | None:
    """The range of a sum or a difference of a value and a constant that is the same number everywhere, or in every
    column of the last axis. None if it is of something else."""
    is_sum = node.get_type_name() == "Add"
    for index in (0, 1) if is_sum else (0,):
        value, added = walk.operand(node, index), _added(node, index)
        if value is None or value.origin is not Origin.DATA or added is None:
            continue
        numbers = added if is_sum else [-number for number in added]
        ends = value.columns or ((value.low, value.high),)
        count = max(len(numbers), len(ends), len(value.shifts))
        if {len(numbers), len(ends), len(value.shifts)} - {1, count}:
            return None
        each = zip(_repeated(ends, count), _repeated(numbers, count), strict=True)
        made = of_columns(value, [(low + number, high + number) for (low, high), number in each])
        constants = Range(min(numbers), max(numbers), Origin.CONSTANT)
        if walk.bounded(node, made.low, made.high, [value, constants]) is None:
            return None
        shifts = [a + b for a, b in zip(_repeated(value.shifts, count), _repeated(numbers, count), strict=True)]
        is_known = value.whole and not (value.wraps and any(numbers))
        return replace(made, shifts=tuple(shifts) if len(set(shifts)) > 1 else (shifts[0],), whole=is_known)
    return None


def wrapped(walk: Walk, node: Any) -> Range | None:
    """The range of Select(v < 0, v + n, v), as Keras and NumPy count negative ids from the end. None if it is not
    that."""
    value = walk.operand(node, 2)
    if value is None or value.origin is not Origin.DATA or type_range(node.output(0)) is None or value.wraps:
        return None
    port = node.input_value(2)
    size = _wrapped_by(walk, port, node.input_value(0).get_node(), node.input_value(1).get_node())
    if size is None:
        return None
    if value.low >= 0:
        return value
    made = of_columns(value, [_wrapped_ends(*ends, size) for ends in value.columns or ((value.low, value.high),)])
    if walk.bounded(node, made.low, made.high, [value]) is None:
        return None
    return replace(made, wraps=size)


def _wrapped_by(walk: Walk, port: Any, condition: Any, added: Any) -> int | None:
    """n of v < 0 and v + n, if they are that of this port."""
    if condition.get_type_name() not in ("Less", "Greater") or added.get_type_name() != "Add":
        return None
    smaller = 0 if condition.get_type_name() == "Less" else 1
    if not _is_same(condition.input_value(smaller), port):
        return None
    if _number(walk, condition, 1 - smaller) != 0:
        return None
    for index in (0, 1):
        if _is_same(added.input_value(index), port):
            size = _number(walk, added, 1 - index)
            return size if size is not None and size > 0 else None
    return None


def _wrapped_ends(low: int, high: int, size: int) -> tuple[int, int]:
    below = [low + size, min(high, -1) + size] if low < 0 else []
    above = [max(low, 0), high] if high >= 0 else []
    return min(below + above), max(below + above)


def _is_same(left: Any, right: Any) -> bool:
    return (left.get_node().get_name(), left.get_index()) == (right.get_node().get_name(), right.get_index())


def _number(walk: Walk, node: Any, index: int) -> int | None:
    """The only element of a constant operand."""
    value, shape = walk.operand(node, index), shape_of(node.input_value(index))
    if value is None or value.origin is not Origin.CONSTANT or value.low != value.high:
        return None
    return value.low if shape is not None and all(size == 1 for size in shape) else None


def _added(node: Any, index: int) -> list[int] | None:
    """What a constant adds to the other operand, which keeps its elements in their order: to each the same number, or
    one for each column. None if it is no constant of whole numbers, or is added otherwise."""
    port = node.input_value(1 - index)
    shape, beside = shape_of(port), shape_of(node.input_value(index))
    source = port.get_node()
    if source.get_type_name() == "Convert":
        port = source.input_value(0)
    array = constant(port) if port.get_element_type().bitwidth >= 8 else None
    if array is None or shape is None or not 0 < array.size <= _COLUMNS_MAX or array.dtype.kind not in "iuf":
        return None
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.floor(array)).all()):
        return None
    is_by_column = array.size > 1
    if is_by_column and (array.size != shape[-1] or not beside or beside[-1] != shape[-1]):
        return None
    if is_by_column and node.get_attributes().get("auto_broadcast", "") not in ("numpy", "none"):
        return None
    return [int(number) for number in array.ravel()]


def _repeated(items: Sequence[_T], count: int) -> Sequence[_T]:
    return list(items) * (count // len(items))
