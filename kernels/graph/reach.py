"""What of a graph its outputs depend on."""

from collections.abc import Iterable, Iterator
from typing import Any


class GraphError(Exception):
    """A graph that cannot be rewritten."""


def producer(reference: str) -> str:
    """The node of an input: `name`, `name:1` and `^name` are all of `name`."""
    return reference.lstrip("^").split(":")[0]


def needed_nodes(graph: Any, wanted: Iterable[str]) -> list[Any]:
    """The nodes that the tensors `wanted` depend on, by data or by control, in the graph's order. GraphError if one is
    not there."""
    nodes = {node.name: node for node in graph.node}
    needed: set[str] = set()
    waiting = [producer(reference) for reference in wanted]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        if name not in nodes:
            raise GraphError(f"the graph has no node {name}")
        needed.add(name)
        waiting.extend(producer(reference) for reference in nodes[name].input)
    return [node for node in graph.node if node.name in needed]


def prune(graph: Any, wanted: Iterable[str]) -> None:
    """Drops the nodes that the tensors `wanted` do not depend on."""
    kept = [type(node).FromString(node.SerializeToString()) for node in needed_nodes(graph, wanted)]
    del graph.node[:]
    graph.node.extend(kept)


def running_nodes(graph: Any, wanted: Iterable[str]) -> Iterator[Any]:
    """Every node that may run for the tensors `wanted`, those of functions included."""
    functions = {function.signature.name: function for function in graph.library.function}
    waiting, seen = needed_nodes(graph, wanted), set()
    while waiting:
        node = waiting.pop()
        yield node
        for name in (node.op, *functions_of(node)):
            if name in functions and name not in seen:
                seen.add(name)
                waiting.extend(functions[name].node_def)


def functions_of(node: Any) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            yield value.func.name
        elif kind == "list":
            yield from (function.name for function in value.list.func)
