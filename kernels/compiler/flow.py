"""A graph without calls, as dataflow: who makes a tensor, and in which order."""

from collections.abc import Iterator
from typing import Any

from corelane.kernels.graph.reach import GraphError, producer


def key(reference: str) -> str:
    """The one name of a tensor: `node` and `node:0` are the same."""
    name, _, index = reference.partition(":")
    return f"{name}:{index or 0}"


class Flow:
    def __init__(self, graph: Any) -> None:
        self.nodes: dict[str, Any] = {node.name: node for node in graph.node}

    def data_inputs(self, node: Any) -> list[str]:
        return [key(reference) for reference in node.input if not reference.startswith("^")]

    def in_order(self) -> Iterator[Any]:
        """Every node after those whose tensors it takes. GraphError if the graph has a loop."""
        done: set[str] = set()
        for start in self.nodes:
            waiting = [start]
            path: set[str] = set()
            while waiting:
                name = waiting[-1]
                if name in done:
                    waiting.pop()
                    continue
                before = [producer(r) for r in self.data_inputs(self.nodes[name])]
                missing = [one for one in before if one not in done]
                if not missing:
                    done.add(name)
                    path.discard(name)
                    waiting.pop()
                    yield self.nodes[name]
                elif name in path:
                    raise GraphError(f"node {name} is part of a loop")
                else:
                    path.add(name)
                    waiting.extend(missing)
