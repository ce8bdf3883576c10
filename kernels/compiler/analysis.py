"""What each tensor of a graph is, op by op, by rules that look at one op and at what its inputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corelane.kernels.compiler.flow import Flow, key
from corelane.kernels.compiler.sizes import BATCH, Size, product
from corelane.kernels.compiler.terms import Coordinates, Opaque, Shape, Sizes, Term, Vector
from corelane.kernels.compiler.values import INT64, Domain, Values
from corelane.kernels.graph.constants import FLOAT, INT32, STRING
from corelane.kernels.graph.constants import INT64 as DT_INT64

KINDS = {STRING: "strings", INT32: "ints", DT_INT64: "ints", FLOAT: "floats"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """An input of the signature. `shape` has -1 where any size goes, None if even the rank is unknown. `triple` are the
    inputs that are a sparse tensor's indices, values and shape, if this is one of them."""

    name: str
    tensor: str
    dtype: int
    shape: tuple[int, ...] | None
    triple: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The ids that a vocabulary has: the least, the largest, and how many keys it has."""

    least: int
    largest: int
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A rule that was used at a node."""

    rule: str
    node: str
    op: str


# What a rule returns: a term for each output, one for the only output, or None if it does not apply.
RuleBody = Callable[["Analysis", Any, "list[Term]"], "Term | list[Term] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`name` says what nodes of these ops become."""

    name: str
    ops: tuple[str, ...]
    body: RuleBody


def rule(name: str, *ops: str) -> Callable[[RuleBody], Rule]:
    """Makes a function the body of a rule for these ops."""
    return lambda body: Rule(name=name, ops=ops, body=body)


def rules_by_op(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """The rules of each op, in their order. ValueError if two rules of one name claim the same op."""
    by_op: dict[str, list[Rule]] = {}
    for candidate in rules:
        for op in candidate.ops:
            others = by_op.setdefault(op, [])
            if any(other.name == candidate.name for other in others):
                raise ValueError(f"two rules claim op {op} by the name {candidate.name!r}")
            others.append(candidate)
    return by_op


@dataclass(kw_only=True)
class Analysis:
    """`rules` by op; those of an op are tried in order. `terms` by tensor. `ids` are the ids of each vocabulary, by its
    handle; `constants` the tables that are such, by
    node; `orders`, by the source of a table of several parts, the place in these, one after another, of each row."""

    flow: Flow
    feeds: Sequence[Feed]
    rules: Mapping[str, Sequence[Rule]]
    ids: Mapping[str, Ids] = field(default_factory=dict)
    values: Values = field(default_factory=Values)
    terms: dict[str, Term] = field(default_factory=dict)
    applied: list[Application] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    orders: dict[str, np.ndarray] = field(default_factory=dict)

    def run(self, stop_after: int | None = None) -> None:
        """Looks at every node once. No more than `stop_after` rules are used, to find the one that is wrong."""
        for feed in self.feeds:
            self.terms[key(feed.tensor)] = self._fed(feed)
        fed = set(self.terms)
        for node in self.flow.in_order():
            if f"{node.name}:0" in fed:
                continue
            inputs = [self.terms.get(reference, Opaque()) for reference in self.flow.data_inputs(node)]
            for index, term in enumerate(self._apply(node, inputs, stop_after)):
                self.terms[f"{node.name}:{index}"] = term

    def _apply(self, node: Any, inputs: list[Term], stop_after: int | None) -> list[Term]:
        for candidate in self.rules.get(node.op, ()):
            if stop_after is not None and len(self.applied) >= stop_after:
                break
            found = candidate.body(self, node, inputs)
            if found is not None:
                self.applied.append(Application(rule=candidate.name, node=node.name, op=node.op))
                return found if isinstance(found, list) else [found]
        return []

    def _fed(self, feed: Feed) -> Term:
        if feed.triple is not None and feed.dtype in KINDS:
            return self._fed_sparse(feed, *feed.triple)
        if feed.dtype not in KINDS or not feed.shape or feed.shape[0] != -1:
            return Opaque(f"input {feed.name} has no axis of rows, or a type that is not fused")
        shape: Shape = tuple(
            BATCH if axis == 0 else Size.of(size) if size >= 0 else Size.symbol("axis", feed.name, axis)
            for axis, size in enumerate(feed.shape)
        )
        return Vector(self._load(feed, product(shape)), shape, feed.dtype)

    def _load(self, feed: Feed, domain: Domain) -> int:
        kind = KINDS[feed.dtype]
        interval = (-(2**31), 2**31 - 1) if feed.dtype == INT32 else INT64
        return self.values.add(f"load_{kind}", kind=kind, domain=domain, feed=feed.name, interval=interval)

    def _fed_sparse(self, feed: Feed, indices: str, values: str, shape: str) -> Term:
        rows = self.values.add(
            "sparse_rows", kind="rows", domain=BATCH, feed=indices, values_feed=values, shape_feed=shape
        )
        dense_shape = (BATCH, Size.symbol("given", shape))
        if feed.name == indices:
            return Coordinates(rows, dense_shape)
        if feed.name == shape:
            sizes = np.empty(2, object)
            sizes[:] = dense_shape
            return Sizes(sizes)
        return Vector(self._load(feed, rows), (self.values.length(rows),), feed.dtype)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """A node's attribute as a plain value."""
    if name not in node.attr:
        return default
    value = node.attr[name]
    which = value.WhichOneof("value")
    return value.s if which == "s" else getattr(value, which) if which else default
