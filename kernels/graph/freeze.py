"""Variables that nobody writes, as constants: a runtime can then convert and pack them once, and not at every run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from corelane.kernels.graph.reach import producer

# What reads through a handle, and never writes.
_READERS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "Identity"})
_REF_VARIABLES = frozenset({"Variable", "VariableV2"})
_RESOURCE = 20  # DataType.DT_RESOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that the graph only reads. `dtype` is TensorFlow's number; `handle` is its node, which in graphs of
    TensorFlow 1 may be a reference to the value itself."""

    handle: str
    is_reference: bool
    dtype: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Numbers in row-major order, little-endian."""

    dtype: int
    shape: tuple[int, ...]
    data: bytes


def variables(graph: Any, ops: Mapping[str, Any]) -> list[Variable]:
    """The variables that a graph without calls reads as a whole and does not write."""
    nodes = {node.name: node for node in graph.node}
    read: set[str] = set()
    written: set[str] = set()
    for node in graph.node:
        references = [reference for reference in node.input if not reference.startswith("^")]
        takes_ref = _takes_reference(node, ops)
        for index, reference in enumerate(references):
            source = _source(nodes, reference)
            if source is None:
                continue
            if source.op in _REF_VARIABLES:
                (written if takes_ref[index] else read).add(source.name)
            elif node.op == "ReadVariableOp":
                read.add(source.name)
            elif node.op not in _READERS:
                written.add(source.name)
    found = []
    for name in sorted(read - written):
        shape = nodes[name].attr["shape"].shape
        if not shape.unknown_rank and all(dim.size >= 0 for dim in shape.dim):
            sizes = tuple(dim.size for dim in shape.dim)
            found.append(
                Variable(
                    handle=name,
                    is_reference=nodes[name].op in _REF_VARIABLES,
                    dtype=nodes[name].attr["dtype"].type,
                    shape=sizes,
                )
            )
    return found


def freeze(
    graph: Any, values: Mapping[str, Tensor], wanted: Iterable[str], prefix: str
) -> tuple[dict[str, str], list[str]]:
    """Makes a graph without calls one that can be added to the graph it was read from: `values` of variables, by
    handle, become constants; all nodes get a prefix but the sources (placeholders, resources and the remaining
    variables), which are left out, to be taken from there.

    Returns where each of the tensors `wanted` is, and the names of the sources."""
    nodes = {node.name: node for node in graph.node}
    constant: dict[str, str] = {}  # node to the handle whose value it is
    for node in graph.node:
        if node.op in _REF_VARIABLES and node.name in values:
            constant[node.name] = node.name
        elif node.op == "ReadVariableOp":
            source = _source(nodes, node.input[0])
            if source is not None and source.name in values:
                constant[node.name] = source.name
    sources = {node.name for node in graph.node if _is_source(node) and node.name not in constant}
    made = []
    for node in graph.node:
        if node.name in sources:
            continue
        if node.name in constant:
            copy = _constant(node, values[constant[node.name]])
        else:
            copy = type(node).FromString(node.SerializeToString())
            references = [r for r in node.input if not (r.startswith("^") and producer(r) in sources)]
            copy.input[:] = [_renamed(reference, sources, prefix) for reference in references]
            copy.attr.pop("_class", None)  # colocation with nodes of other names
        copy.name = prefix + node.name
        made.append(copy)
    del graph.node[:]
    graph.node.extend(made)
    return {reference: _renamed(reference, sources, prefix) for reference in wanted}, sorted(sources)


def _is_source(node: Any) -> bool:
    if any(not reference.startswith("^") for reference in node.input):
        return False
    return node.op in _REF_VARIABLES or node.op.startswith("Placeholder") or _makes_resource(node)


def _makes_resource(node: Any) -> bool:
    return node.op.endswith("HandleOp") or "shared_name" in node.attr


def _takes_reference(node: Any, ops: Mapping[str, Any]) -> list[bool]:
    """Of each data input, whether the op may write to it through a reference."""
    count = sum(not reference.startswith("^") for reference in node.input)
    definition = ops.get(node.op)
    if definition is None:
        return [True] * count
    taken: list[bool] = []
    for argument in definition.input_arg:
        repeats = 1
        if argument.number_attr:
            repeats = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            repeats = len(node.attr[argument.type_list_attr].list.type)
        taken.extend([argument.is_ref] * repeats)
    return taken if len(taken) == count else [True] * count


def _source(nodes: Mapping[str, Any], reference: str) -> Any:
    """The variable's node behind a reference, through identities of its handle; None if it is something else."""
    node = nodes.get(producer(reference))
    while node is not None and node.op == "Identity" and node.attr["T"].type == _RESOURCE:
        node = nodes.get(producer(node.input[0]))
    return node if node is not None and (node.op == "VarHandleOp" or node.op in _REF_VARIABLES) else None


def _constant(node: Any, value: Tensor) -> Any:
    copy = type(node)(name=node.name, op="Const")
    copy.attr["dtype"].type = value.dtype
    tensor = copy.attr["value"].tensor
    tensor.dtype = value.dtype
    tensor.tensor_shape.SetInParent()
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = value.data
    return copy


def _renamed(reference: str, sources: set[str], prefix: str) -> str:
    if producer(reference) in sources:
        return reference
    return f"^{prefix}{reference[1:]}" if reference.startswith("^") else prefix + reference
