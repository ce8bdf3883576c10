"""BF16 in TensorFlow: beside a loaded graph, a copy in which the dense variables are constants.

TensorFlow converts weights to bfloat16 when it optimizes a graph, if they are constants; variables it would convert at
every run. Large variables (embedding tables) stay as they are: the copy shares them.
"""

from collections.abc import Sequence
from typing import Any

from corelane.kernels.graph import GraphError, Tensor, Variable, freeze, inline_calls, variables
from corelane.processor._native import TensorFlowModel
from corelane.processor.errors import LoadError
from corelane.processor.wire import messages

_PREFIX = "corelane_frozen/"
_READS = "corelane_read/"
# A dense layer's weights are below it, an embedding table worth sharing above.
_VARIABLE_BYTES_MAX = 64 << 20
# Protobuf cannot carry 2 GiB.
_TOTAL_BYTES_MAX = 1 << 30
_FLOAT = 1


def add_frozen_graph(model: TensorFlowModel, graph_def: bytes, references: Sequence[str]) -> dict[str, str]:
    """Adds the copy to the model's graph; returns where it has the tensors of
    `references` ("operation:index").

    LoadError if the graph cannot be copied."""
    graph = messages.GraphDef.FromString(graph_def)
    names = {node.name for node in graph.node}
    ops = {op.name: op for op in messages.OpList.FromString(model.ops()).op}
    try:
        inlined = inline_calls(graph, ops, references)
        values = _read(model, _chosen(variables(graph, ops)))
        tensors, sources = freeze(graph, values, inlined.values(), _PREFIX)
        if inside := [source for source in sources if source not in names]:
            raise GraphError(f"a function makes a resource of its own, {inside[0]}")
        graph.ClearField("library")  # the model's graph has it
        model.extend(graph.SerializeToString(), sources)
    except (GraphError, RuntimeError) as error:
        raise LoadError(f"the graph's variables cannot be frozen, which precision: bf16 needs: {error}") from error
    return {reference: tensors[now] for reference, now in inlined.items()}


def _chosen(variables: Sequence[Variable]) -> list[Variable]:
    """Smallest first, as many as fit."""
    chosen, total = [], 0
    for variable in sorted(variables, key=lambda variable: variable.elements):
        size = 4 * variable.elements
        if variable.dtype == _FLOAT and size <= _VARIABLE_BYTES_MAX and total + size <= _TOTAL_BYTES_MAX:
            chosen.append(variable)
            total += size
    return chosen


def _read(model: TensorFlowModel, variables: Sequence[Variable]) -> dict[str, Tensor]:
    """The values of variables, which the session has restored."""
    reads = messages.GraphDef()
    fetches = []
    for index, variable in enumerate(variables):
        node = _reading(f"{_READS}{index}", variable)
        reads.node.append(node)
        fetches.append(f"{node.name}:0")
    model.extend(reads.SerializeToString(), [variable.handle for variable in variables])
    tensors = model.fetch(fetches)
    return {
        variable.handle: Tensor(dtype=dtype, shape=tuple(shape), data=data)
        for variable, (dtype, shape, data) in zip(variables, tensors, strict=True)
    }


def _reading(name: str, variable: Variable) -> Any:
    node = messages.GraphDef().node.add(name=name, op="Identity" if variable.is_reference else "ReadVariableOp")
    node.input.append(variable.handle)
    node.attr["T" if variable.is_reference else "dtype"].type = variable.dtype
    return node
