"""Where the rules of TensorFlow's ops are kept, and what a rule sees of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from corelane.kernels.batching.registry import Registry
from corelane.kernels.batching.tensor import Tensor


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
Rule = Callable[[Node, list[Tensor]], Tensor | Sequence[Tensor | None]]
REGISTRY: Registry[Rule] = Registry()
rule = REGISTRY.rule
