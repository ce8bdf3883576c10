"""Intervals of the integers in an OpenVINO graph: what `openvino_walk` follows op by op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

INT32 = (-(2**31), 2**31 - 1)
EXACT = 2**24  # float32 has every integer up to it
SIZE_MAX = EXACT  # no axis is longer, and no tensor has more elements where these are multiplied
# By OpenVINO's names. What is not here is a float, or holds strings.
INTEGERS: dict[str, tuple[int, int]] = {
    "boolean": (0, 1),
    **{f"i{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (4, 8, 16, 32, 64)},
    **{f"u{bits}": (0, 2**bits - 1) for bits in (1, 2, 3, 4, 6, 8, 16, 32, 64)},
}


class Origin(IntEnum):
    """What a tensor's values follow from."""

    CONSTANT = 0
    SIZES = 1  # of the inputs' axes
    DATA = 2


@dataclass(frozen=True, slots=True)
class Range:
    """The interval that a tensor's integers lie in, both ends included. `sources` are the inputs of the model, by
    number, that it is narrowed with; it is `whole` if it has every element of theirs, each with a number of `shifts`
    added, and counted from the end of `wraps` places if it is then negative (0: never). `columns` are the intervals,
    and `shifts` the numbers, of elements by their place modulo how many there are: the columns of the last axis."""

    low: int
    high: int
    origin: Origin = Origin.DATA
    sources: frozenset[int] = frozenset()
    whole: bool = False
    shifts: tuple[int, ...] = (0,)
    wraps: int = 0
    columns: tuple[tuple[int, int], ...] = ()  # none: as the whole

    def within(self, low: int, high: int) -> bool:
        return low <= self.low and self.high <= high


class Inexact(Exception):
    """An op that OpenVINO may compute wrongly. It would not with narrower `sources`; within `allowed`, if that is
    known: one interval, or one for each column."""

    def __init__(
        self, reason: str, sources: frozenset[int] = frozenset(), allowed: Sequence[tuple[int, int]] = ()
    ) -> None:
        super().__init__(reason)
        self.reason, self.sources, self.allowed = reason, sources, allowed


def type_range(output: Any) -> tuple[int, int] | None:
    """What a port's element type can hold, if it is of integers or booleans."""
    return INTEGERS.get(output.get_element_type().get_type_name())


def input_ranges(model: Any) -> list[Range | None]:
    """All that a model's inputs can hold, by their types."""
    ranges: list[Range | None] = []
    for number, port in enumerate(model.inputs):
        ends = type_range(port)
        ranges.append(None if ends is None else Range(*ends, sources=frozenset([number]), whole=True))
    return ranges


def name(node: Any) -> str:
    """A node in words."""
    return f"{node.get_type_name()} ({node.get_friendly_name()})"


def shape_of(output: Any) -> list[int | None] | None:
    """The sizes of a port's axes; None where one is not fixed, or where even the rank is not."""
    shape = output.get_partial_shape()
    if shape.rank.is_dynamic:
        return None
    return [None if size.is_dynamic else size.get_length() for size in shape]


def constant(output: Any) -> np.ndarray | None:
    """The value of a port, if it is a constant of numbers."""
    node = output.get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def of_columns(value: Range, ends: Sequence[tuple[int, int]]) -> Range:
    """The range with other ends: one pair, or one for each column."""
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return replace(value, low=low, high=high, columns=tuple(ends) if len(ends) > 1 else ())


def narrowed(value: Range, allowed: Sequence[tuple[int, int]]) -> Range:
    """The part of a range that lies in this interval, or in those of its columns; the range itself if it has other
    columns, or nothing of it lies there."""
    ends = value.columns or ((value.low, value.high),)
    count = max(len(ends), len(allowed))
    if {len(ends), len(allowed)} - {1, count}:
        return value
    pairs = zip(list(ends) * (count // len(ends)), list(allowed) * (count // len(allowed)), strict=True)
    less = [(max(low, least), min(high, most)) for (low, high), (least, most) in pairs]
    return of_columns(value, less) if all(low <= high for low, high in less) else value
