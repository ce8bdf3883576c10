"""One signature's graph, compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, Application, Feed, Ids, rules_by_op
from corelane.kernels.compiler.common import rows_of
from corelane.kernels.compiler.flow import Flow
from corelane.kernels.compiler.lower import Instruction, lower
from corelane.kernels.compiler.partition import Partition, axis_of, partition, tables_of
from corelane.kernels.compiler.rules import RULES
from corelane.kernels.compiler.terms import Feature, Known, Opaque, Sizes, Table, Vector
from corelane.kernels.compiler.values import INT64
from corelane.kernels.graph.constants import FLOAT, STRING
from corelane.kernels.graph.defaults import spell_out_defaults
from corelane.kernels.graph.inline import inline_calls
from corelane.kernels.graph.reach import functions_of, producer

# Ops with state whose state a run only reads.
_READ_ONLY = frozenset(
    {"Assert", "HashTable", "HashTableV2", "LookupTableFind", "LookupTableFindV2", "LookupTableSize"}
    | {"LookupTableSizeV2", "Placeholder", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp"}
    | {"VarIsInitializedOp", "Variable", "VariableShape", "VariableV2"}
)


_RULES_BY_OP = rules_by_op(RULES)

# Rows of elements that are as many for each row.
_NEVER_EMPTY = frozenset({"fill_rows", "even_rows", "grid"})

# Sizes of a feature that the program alone knows: of its longest row, and of the batch.
WIDTH, ROWS = -2, -3


class NotFused(Exception):
    """A graph that is not fused, and why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """`features` are what the program's outputs are fed to, by name, with their shapes, where a size may be an axis
    of an input, (name, number), or one that the program makes, WIDTH or ROWS; `intervals` are the least and the largest
    that those of ints can be, both included. `rows` are the inputs whose first
    axis is the batch. `constants` and `orders` are the analysis'. `vocabularies` are those that the dense graph still
    looks into, by handle; `joins_rows` says which feature of a row depends on other rows, empty if none does;
    `strings` says what leaves strings to it, empty if nothing does. `blocked` says, by the name
    of an input, which op keeps it from being fused.
    """

    dense: Any
    vocabularies: Sequence[str]
    joins_rows: str
    strings: str
    features: Mapping[str, tuple[int | tuple[str, int], ...]]
    intervals: Mapping[str, tuple[int, int]]
    fed: Sequence[str]
    variables: Mapping[str, str]
    where: Mapping[str, str]
    instructions: Sequence[Instruction]
    outputs: Sequence[Instruction]
    registers: int
    rows: Sequence[str]
    tables: Sequence[Table]
    constants: Mapping[str, np.ndarray]
    orders: Mapping[str, np.ndarray]
    maps: Sequence[str]
    nodes_before: int
    applied: Sequence[Application]
    fused: Sequence[str]
    blocked: Mapping[str, str]


def compile_graph(
    graph: Any,
    ops: Mapping[str, Any],
    feeds: Sequence[Feed],
    outputs: Sequence[str],
    ids: Mapping[str, Ids],
    stop_after: int | None = None,
) -> Compiled:
    """`graph` is a GraphDef, which is changed; `ops` are OpDefs by name, `ids` those of each vocabulary by its handle.

    NotFused if nothing of it can be a feature, or if a run would change what the next one sees. `stop_after`: use no
    more rules than that."""
    where = inline_calls(graph, ops, outputs)
    _refuse_state(graph, ops)
    spell_out_defaults(graph, ops)
    flow = Flow(graph)
    analysis = Analysis(flow=flow, feeds=feeds, ids=ids, rules=_RULES_BY_OP)
    analysis.run(stop_after)
    cut = partition(analysis, graph, list(where.values()))
    blocked = _blocked(analysis, cut)
    if not any(part.table or part.opcode == "one_hot" for one in cut.features.values() for part in one.parts):
        why = next(iter(blocked.values()), "no input of it is looked up in a table")
        raise NotFused(f"no feature column was found: {why}")
    cut.graph.versions.CopyFrom(graph.versions)
    if any(function for node in cut.graph.node for function in functions_of(node)):
        cut.graph.library.CopyFrom(graph.library)
    used = _feeds_used(analysis, cut.features)
    numbers = {feed.name: index for index, feed in enumerate(feeds)}
    tables = tables_of(cut.features)
    instructions, written, maps, registers = lower(
        analysis.values, cut.features, numbers, {table: index for index, table in enumerate(tables)}
    )
    return Compiled(
        dense=cut.graph,
        vocabularies=[node.name for node in cut.graph.node if node.op in ("HashTableV2", "HashTable")],
        joins_rows=_joins_rows(analysis, cut.features),
        strings=_strings_left(cut, blocked),
        features={name: _shape(feature) for name, feature in cut.features.items()},
        intervals={name: _interval(analysis, one) for name, one in cut.features.items() if one.dtype != FLOAT},
        fed=cut.fed,
        variables=cut.variables,
        where={reference: cut.where[now] for reference, now in where.items()},
        instructions=instructions,
        outputs=written,
        registers=registers,
        rows=[
            feed.name
            for feed in feeds
            if feed.shape and feed.shape[0] == -1 and feed.triple is None and feed.name in {*used, *cut.fed}
        ],
        tables=tables,
        constants=analysis.constants,
        orders=analysis.orders,
        maps=maps,
        nodes_before=len(flow.nodes),
        applied=analysis.applied,
        fused=[name for name in used if name not in cut.fed],
        blocked=blocked,
    )


def _refuse_state(graph: Any, ops: Mapping[str, Any]) -> None:
    for node in graph.node:
        definition = ops.get(node.op)
        if definition is None:
            raise NotFused(f"op {node.op} is not known")
        if definition.is_stateful and node.op not in _READ_ONLY:
            raise NotFused(f"op {node.op} ({node.name}) keeps state or has none to be compared by")


def _joins_rows(analysis: Analysis, features: Mapping[str, Feature]) -> str:
    """Instructions work row by row, but for two: one that pads every row to the longest, and one that refuses a request
    for the rows at its end."""
    waiting: list[int] = []
    for feature in features.values():
        for part in feature.parts:
            waiting.extend(part.inputs)
            is_refused = dict(part.attributes).get("empty") == "error"
            if is_refused and analysis.values[part.inputs[1]].opcode not in _NEVER_EMPTY:
                return "a request whose last rows have no ids is refused, others' rows behind it or not"
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        value = analysis.values[number]
        if value.opcode == "pad" and dict(value.attributes)["number"] < 0:
            return "rows are padded to the longest of the request"
        if number not in seen:
            seen.add(number)
            waiting.extend(value.inputs)
    return ""


def _strings_left(cut: Partition, blocked: Mapping[str, str]) -> str:
    for node in cut.graph.node:
        if any(value.type == STRING for value in node.attr.values()):
            return next(iter(blocked.values()), f"{node.op} ({node.name})")
    return ""


def _shape(feature: Feature) -> tuple[int | tuple[str, int], ...]:
    found: list[int | tuple[str, int]] = [ROWS]
    for size in feature.shape[1:]:
        axis = axis_of(size)
        if axis is None and size.constant is None:
            assert rows_of(size) is not None, "nothing else is cut"
            found.append(WIDTH)
            continue
        found.append(size.constant if axis is None else axis)  # type: ignore[arg-type]
    return tuple(found)


def _interval(analysis: Analysis, feature: Feature) -> tuple[int, int]:
    found = [analysis.values[number].interval or INT64 for part in feature.parts for number in part.inputs]
    return min(low for low, _ in found), max(high for _, high in found)


def _feeds_used(analysis: Analysis, features: Mapping[str, Feature]) -> list[str]:
    waiting = [number for feature in features.values() for part in feature.parts for number in part.inputs]
    seen: set[int] = set()
    found = set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        value = analysis.values[number]
        if value.opcode.startswith("load"):
            found.add(value.attribute("feed"))
        elif value.opcode == "sparse_rows":
            found |= {value.attribute(name) for name in ("feed", "values_feed", "shape_feed")}
        waiting.extend(value.inputs)
    return [feed.name for feed in analysis.feeds if feed.name in found]


def _blocked(analysis: Analysis, cut: Partition) -> dict[str, str]:
    """For each input that the dense graph still takes, the first op that no rule makes anything of, if what it is given
    is more than floats."""
    remaining = {node.name for node in cut.graph.node}
    order = [node for node in analysis.flow.in_order() if node.name in remaining]
    found = {}
    for feed in analysis.feeds:
        reached = {producer(feed.tensor)}
        for node in order if feed.name in cut.fed else ():
            if not any(producer(one) in reached for one in node.input):
                continue
            reached.add(node.name)
            if f"{node.name}:0" not in analysis.terms and not _is_dense(analysis, node):
                found[feed.name] = f"{node.op} ({node.name})"
                break
    return found


def _is_dense(analysis: Analysis, node: Any) -> bool:
    """Whether a node computes with floats as they were fed, or with what was made of them."""
    for reference in analysis.flow.data_inputs(node):
        term = analysis.terms.get(reference, Opaque())
        if isinstance(term, Vector) and analysis.values[term.value].kind != "floats":
            return False
        if not isinstance(term, Vector | Opaque | Known | Table | Feature | Sizes):
            return False
    return True
