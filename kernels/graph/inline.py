"""Function calls out of a graph: each replaced by the nodes of what it calls."""

from collections.abc import Iterable, Mapping
from typing import Any

from corelane.kernels.graph.reach import GraphError, producer, prune

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_DEPTH_MAX = 64  # calls within calls; beyond it a function calls itself


def inline_calls(graph: Any, ops: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, str]:
    """Replaces function calls, and calls within calls, by their bodies; prunes to what the tensors `wanted` depend on.

    `ops` are the OpDefs by name. Returns where each of `wanted` is now. Branches and loops keep their functions.
    GraphError if a function calls itself or an op is unknown."""
    functions = {function.signature.name: function for function in graph.library.function}
    where = {reference: reference for reference in wanted}
    for _ in range(_DEPTH_MAX):
        prune(graph, where.values())
        calls = [node for node in graph.node if _called(node, functions) is not None]
        if not calls:
            return where
        moved = _inline_once(graph, calls, functions, ops)
        where = {reference: _resolve(now, moved) for reference, now in where.items()}
    raise GraphError(f"function calls are nested more than {_DEPTH_MAX} deep")


def _called(node: Any, functions: Mapping[str, Any]) -> Any:
    if node.op in _CALLS:
        return functions.get(node.attr["f"].func.name)
    return functions.get(node.op)


class _Moved:
    """Where the outputs of calls are, and what stands for their end."""

    def __init__(self) -> None:
        self.outputs: dict[str, str] = {}  # "call:0" to the reference that replaces it
        self.ends: dict[str, list[str]] = {}  # call to the nodes that have all run when it has


def _inline_once(graph: Any, calls: list[Any], functions: Mapping[str, Any], ops: Mapping[str, Any]) -> _Moved:
    moved = _Moved()
    taken = {node.name for node in graph.node}
    bodies: list[Any] = []
    for call in calls:
        bodies.extend(_body(call, _called(call, functions), functions, ops, taken, moved))
    called = {call.name for call in calls}
    kept = [node for node in graph.node if node.name not in called]
    kept = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend([*kept, *bodies])
    for node in graph.node:
        inputs: list[str] = []
        for reference in node.input:
            found = _resolve_all(reference, moved)
            inputs.extend(one for one in found if not one.startswith("^") or one not in inputs)
        # Control inputs come last.
        inputs.sort(key=lambda one: one.startswith("^"))
        node.input[:] = inputs
    return moved


def _body(
    call: Any, function: Any, functions: Mapping[str, Any], ops: Mapping[str, Any], taken: set[str], moved: _Moved
) -> list[Any]:
    prefix = f"{call.name}/"
    while any(f"{prefix}{node.name}" in taken for node in function.node_def):
        prefix = f"{prefix}_/"
    data = [reference for reference in call.input if not reference.startswith("^")]
    control = [reference for reference in call.input if reference.startswith("^")]
    arguments = dict(zip((argument.name for argument in function.signature.input_arg), data, strict=True))
    inner = {node.name: node for node in function.node_def}

    def refer(reference: str) -> str:
        name, *rest = reference.lstrip("^").split(":")
        mark = "^" if reference.startswith("^") else ""
        if name in arguments:
            return f"^{producer(arguments[name])}" if mark else arguments[name]
        if mark or not rest:
            return f"{mark}{prefix}{name}"
        return f"{prefix}{name}:{_first_of(inner[name], rest[0], functions, ops) + int(rest[1])}"

    attributes = call.attr["f"].func.attr if call.op in _CALLS else call.attr
    made = []
    for node in function.node_def:
        copy = type(call).FromString(node.SerializeToString())
        copy.name = prefix + node.name
        copy.input[:] = [refer(reference) for reference in node.input]
        if not any(producer(reference) in inner for reference in node.input):
            copy.input.extend(control)
        for name, value in node.attr.items():
            if value.WhichOneof("value") == "placeholder":
                copy.attr[name].CopyFrom(attributes[value.placeholder])
        copy.device = copy.device or call.device
        taken.add(copy.name)
        made.append(copy)
    results = [refer(function.ret[output.name]) for output in function.signature.output_arg]
    for index, result in enumerate(results):
        moved.outputs[f"{call.name}:{index}"] = result
    ends = [f"^{prefix}{name}" for name in function.control_ret.values()]
    moved.ends[call.name] = list(dict.fromkeys([*ends, *(f"^{producer(result)}" for result in results)]))
    return made


def _first_of(node: Any, output: str, functions: Mapping[str, Any], ops: Mapping[str, Any]) -> int:
    """The place among a node's outputs of the first that its op calls `output`."""
    definition = functions[node.op].signature if node.op in functions else ops.get(node.op)
    if definition is None:
        raise GraphError(f"op {node.op} is not known; op_libraries may lack its library")
    place = 0
    for argument in definition.output_arg:
        if argument.name == output:
            return place
        if argument.number_attr:
            place += node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            place += len(node.attr[argument.type_list_attr].list.type)
        else:
            place += 1
    raise GraphError(f"op {node.op} has no output {output}")


def _resolve(reference: str, moved: _Moved) -> str:
    while (key := reference if ":" in reference else f"{reference}:0") in moved.outputs:
        reference = moved.outputs[key]
    return reference


def _resolve_all(reference: str, moved: _Moved) -> list[str]:
    if not reference.startswith("^"):
        return [_resolve(reference, moved)]
    name = reference[1:]
    if name not in moved.ends:
        return [reference]
    # A result that is another call's stands for that call's end.
    return list(dict.fromkeys(one for end in moved.ends[name] for one in _resolve_all(end, moved)))
