"""Whether the rows of a TensorFlow graph's outputs are each made of the same rows of its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corelane.kernels.batching import tensorflow_layers, tensorflow_layout, tensorflow_ops
from corelane.kernels.batching.axes import refuse_counts
from corelane.kernels.batching.registry import rules_by_op
from corelane.kernels.batching.tensor import MALFORMED, VALUES_MAX, JoinsRows, Tensor, fixed, fresh, known, rows
from corelane.kernels.batching.tensorflow_rules import Node
from corelane.kernels.compiler.flow import Flow, key
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.graph.constants import array_of
from corelane.kernels.graph.effects import effect_of, only_reads
from corelane.kernels.graph.reach import GraphError, needed_nodes, producer

_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_RULES_BY_OP = rules_by_op((*tensorflow_ops.RULES, *tensorflow_layout.RULES, *tensorflow_layers.RULES))


def check_rows(
    graph: Any,
    ops: Mapping[str, Any],
    inputs: Mapping[str, Sequence[int | None] | None],
    outputs: Iterable[str],
) -> None:
    """`graph` is a GraphDef without calls whose attributes are spelled out; `ops` are OpDefs by name. `inputs` are the
    shapes of the tensors that a request feeds, by reference: the first size is the number of rows, None is any size;
    a shape of None, or without axes, is of no rows.

    JoinsRows if an output is not shown to have one row for each row of the inputs, made of that row alone; its
    message names the node."""
    outputs = list(outputs)
    effect = effect_of(graph, ops, outputs)
    if effect:
        raise JoinsRows(effect)
    fed: dict[str, Tensor] = {}
    for reference, shape in inputs.items():
        if not shape or shape[0] is not None:
            raise JoinsRows(f"input {reference} has no first axis of any size")
        fed[key(reference)] = rows([BATCH, *(fresh() if size is None else Size.of(size) for size in shape[1:])])
    walk = _Walk(graph, ops, fed)
    walk.run(outputs)
    for reference in outputs:
        tensor = walk.tensor(key(reference))
        if not tensor.is_rows or tensor.known_shape[0] != BATCH:
            raise JoinsRows(f"output {reference} does not have one row for each row of the inputs")


class _Walk:
    def __init__(self, graph: Any, ops: Mapping[str, Any], fed: Mapping[str, Tensor]) -> None:
        self._graph, self._ops = graph, ops
        self._tensors: dict[str, Tensor] = dict(fed)
        self._fed = {producer(reference) for reference in fed}
        self._fixed: set[str] = set()  # nodes all of whose outputs are the same for every request

    def run(self, outputs: Sequence[str]) -> None:
        subgraph = type(self._graph)()
        subgraph.node.extend(_data_nodes(self._graph, outputs, self._fed))
        flow = Flow(subgraph)
        try:
            for node in flow.in_order():
                if node.name not in self._fed:
                    self._node(node, flow)
        except GraphError as error:
            raise JoinsRows(str(error)) from error

    def tensor(self, reference: str) -> Tensor:
        """JoinsRows for an output of which nothing is known."""
        if producer(reference) in self._fixed:
            return fixed()
        tensor = self._tensors.get(reference)
        if tensor is None:
            raise JoinsRows(f"{reference} is not shown to be of rows")
        return tensor

    def _node(self, node: Any, flow: Flow) -> None:
        try:
            self._run(node, [self.tensor(reference) for reference in flow.data_inputs(node)])
        except (JoinsRows, *MALFORMED) as error:
            raise JoinsRows(f"{node.op} ({node.name}): {error}") from None

    def _run(self, node: Any, operands: list[Tensor]) -> None:
        rule = _RULES_BY_OP.get(node.op)
        if rule is None or not rule.takes_counts:
            refuse_counts(operands)
        if node.op == "Const":
            self._tensors[f"{node.name}:0"] = _constant(node)
        elif node.op in _VARIABLES:
            self._tensors[f"{node.name}:0"] = fixed(_declared(node))
        elif node.op == "ReadVariableOp":
            self._tensors[f"{node.name}:0"] = operands[0]
        elif rule is not None:
            made = rule.body(Node(node), operands)
            for index, tensor in enumerate(made if isinstance(made, list) else [made]):
                if tensor is not None:
                    self._tensors[f"{node.name}:{index}"] = tensor
        elif any(one.is_rows for one in operands):
            raise JoinsRows("it is not known to keep rows apart")
        elif self._ops[node.op].is_stateful and not only_reads(node.op):
            raise JoinsRows("its value is another at each run")
        else:
            self._fixed.add(node.name)


def _data_nodes(graph: Any, outputs: Sequence[str], fed: Iterable[str]) -> list[Any]:
    """The nodes whose tensors the outputs are made of: control inputs make nothing, and what is fed is not computed."""
    subgraph = type(graph)()
    fed = set(fed)
    for node in graph.node:
        copy = subgraph.node.add()
        copy.CopyFrom(node)
        data = [] if node.name in fed else [reference for reference in node.input if not reference.startswith("^")]
        copy.input[:] = data
    return needed_nodes(subgraph, outputs)


def _declared(node: Any) -> list[Size] | None:
    shape = node.attr["shape"].shape
    if shape.unknown_rank:
        return None
    return [fresh() if dim.size < 0 else Size.of(dim.size) for dim in shape.dim]


def _constant(node: Any) -> Tensor:
    tensor = node.attr["value"].tensor
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if math.prod(sizes) <= VALUES_MAX:
        array = array_of(tensor)
        if array is not None and array.dtype.kind in "iu":
            return known(array)
    return fixed(sizes)
