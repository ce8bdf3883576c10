"""Rules of a graph language's ops, and the table that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_Body = TypeVar("_Body", bound=Callable[..., Any])
_Body_co = TypeVar("_Body_co", bound=Callable[..., Any], covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[_Body_co]):
    """What `body` makes of the operands of these ops. `takes_counts`: operands may have the number of rows among their
    values; all other ops refuse such operands."""

    ops: tuple[str, ...]
    body: _Body_co
    takes_counts: bool


def rule(ops: str, *, counts: bool = False) -> Callable[[_Body], Rule[_Body]]:
    """Makes a function the body of a rule for ops with white space between them; `counts`: they take counts."""
    return lambda body: Rule(ops=tuple(ops.split()), body=body, takes_counts=counts)


def rules_by_op(rules: Iterable[Rule[_Body]]) -> dict[str, Rule[_Body]]:
    """The one rule of each op. ValueError if two rules claim an op."""
    by_op: dict[str, Rule[_Body]] = {}
    for candidate in rules:
        for op in candidate.ops:
            if op in by_op:
                raise ValueError(f"two rules claim op {op}")
            by_op[op] = candidate
    return by_op
