"""Where the rules of a graph language's ops are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Rule = TypeVar("_Rule", bound=Callable[..., Any])


class Registry(Generic[_Rule]):
    """`rules` by op. Operands of the ops in `take_counts` may have the number of rows among their values; all other ops
    refuse such operands."""

    def __init__(self) -> None:
        self.rules: dict[str, _Rule] = {}
        self.take_counts: set[str] = set()

    def rule(self, ops: str, *, counts: bool = False) -> Callable[[_Rule], _Rule]:
        """Registers a rule for ops with white space between them; `counts`: they take counts."""

        def register(function: _Rule) -> _Rule:
            for op in ops.split():
                assert op not in self.rules, op
                self.rules[op] = function
                if counts:
                    self.take_counts.add(op)
            return function

        return register
