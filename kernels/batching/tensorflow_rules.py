"""What a rule of a TensorFlow op sees of its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from corelane.kernels.batching.tensor import JoinsRows, Tensor


class Node:
    """A node's attributes, which are all spelled out."""

    def __init__(self, node: Any) -> None:
        self._node = node

    @property
    def op(self) -> str:
        return str(self._node.op)

    def dtype(self, name: str) -> int:
        """TensorFlow's number of an element type."""
        return int(self._node.attr[name].type)

    def flag(self, name: str) -> bool:
        return bool(self._node.attr[name].b)

    def number(self, name: str) -> int:
        return int(self._node.attr[name].i)

    def numbers(self, name: str) -> list[int]:
        return [int(number) for number in self._node.attr[name].list.i]

    def text(self, name: str) -> str:
        return str(self._node.attr[name].s.decode())

    def shapes(self, name: str) -> list[Any]:
        return list(self._node.attr[name].list.shape)


# Of several outputs, None for one that joins rows.
Body = Callable[[Node, list[Tensor]], Tensor | Sequence[Tensor | None]]


def scalar_of(tensor: Tensor) -> int | None:
    numbers = tensor.constants()
    return None if numbers is None or numbers.size != 1 else int(numbers.item())


def axis_of(axis: Tensor, tensor: Tensor) -> int | None:
    """An axis; None if it does not matter. JoinsRows if it matters and is not known."""
    number = scalar_of(axis)
    if tensor.is_rows and number is None:
        raise JoinsRows("the axis is not known")
    return number if tensor.shape is not None else None
