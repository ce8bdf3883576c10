"""Graph rewriting on graphs made by hand; `tests/processor/loading/test_precision.py` has those of real models."""

from typing import Any

import pytest

from corelane.kernels.graph import GraphError, Tensor, freeze, inline_calls, running_nodes, variables
from corelane.processor.wire import messages

_FLOAT, _RESOURCE = 1, 20


def op(name: str, *outputs: str, lists: bool = False) -> Any:
    """An op, as OpDef; each output may be a list whose length is in the attribute `n`."""
    definition = messages.OpList().op.add(name=name)
    for output in outputs:
        definition.output_arg.add(name=output, number_attr="n" if lists else "")
    return definition


OPS = {
    definition.name: definition
    for definition in (
        op("Placeholder", "output"),
        op("VarHandleOp", "resource"),
        op("ReadVariableOp", "value"),
        op("AssignVariableOp"),
        op("Identity", "output"),
        op("MatMul", "product"),
        op("NoOp"),
        op("Two", "first", "second", lists=True),
    )
}


def node(nodes: Any, name: str, kind: str, *inputs: str) -> Any:
    made = nodes.add(name=name, op=kind)
    made.input[:] = inputs
    return made


def call(nodes: Any, name: str, function: str, *inputs: str) -> None:
    node(nodes, name, "StatefulPartitionedCall", *inputs).attr["f"].func.name = function


def function(graph: Any, name: str, arguments: list[str], results: dict[str, str]) -> Any:
    made = graph.library.function.add()
    made.signature.name = name
    for argument in arguments:
        made.signature.input_arg.add(name=argument)
    for result, source in results.items():
        made.signature.output_arg.add(name=result)
        made.ret[result] = source
    return made.node_def


def inputs_of(graph: Any) -> dict[str, list[str]]:
    return {one.name: list(one.input) for one in graph.node}


def test_calls_within_calls() -> None:
    graph = messages.GraphDef()
    node(graph.node, "x", "Placeholder")
    node(graph.node, "before", "NoOp")
    call(graph.node, "outer", "outer", "x", "^before")
    node(graph.node, "after", "Identity", "outer:1", "^outer")
    node(graph.node, "unneeded", "Identity", "x")
    body = function(graph, "outer", ["a"], {"same": "a", "deep": "inner:result:0"})
    call(body, "inner", "inner", "a")
    body = function(graph, "inner", ["b"], {"result": "two:second:1"})
    node(body, "two", "Two", "b").attr["n"].i = 2
    # What the call's output is called is in the signature of what it calls.
    graph.library.function[0].ret["deep"] = "inner:output:0"
    ops = {**OPS, "StatefulPartitionedCall": op("StatefulPartitionedCall", "output")}
    assert inline_calls(graph, ops, ["after:0", "outer:0", "outer:1"]) == {
        "after:0": "after:0",
        "outer:0": "x",
        "outer:1": "outer/inner/two:3",
    }
    assert inputs_of(graph) == {
        "x": [],
        "before": [],
        "after": ["outer/inner/two:3", "^x", "^outer/inner/two"],
        "outer/inner/two": ["x", "^before"],
    }


def test_a_function_that_calls_itself() -> None:
    graph = messages.GraphDef()
    call(graph.node, "start", "again")
    call(function(graph, "again", [], {"result": "more:output:0"}), "more", "again")
    ops = {**OPS, "StatefulPartitionedCall": op("StatefulPartitionedCall", "output")}
    with pytest.raises(GraphError, match="nested more than 64 deep"):
        inline_calls(graph, ops, ["start:0"])


@pytest.mark.parametrize(("reference", "problem"), [("a:x:0", "op Strange is not known"), ("b:x:0", "has no output x")])
def test_ops_that_are_not_what_the_graph_says(reference: str, problem: str) -> None:
    graph = messages.GraphDef()
    call(graph.node, "start", "f")
    body = function(graph, "f", [], {"result": reference})
    node(body, "a", "Strange")
    node(body, "b", "Identity")
    with pytest.raises(GraphError, match=problem):
        inline_calls(graph, OPS, ["start:0"])
    with pytest.raises(GraphError, match="no node nowhere"):
        inline_calls(graph, OPS, ["nowhere:0"])


def dense(written: bool) -> Any:
    graph = messages.GraphDef()
    node(graph.node, "x", "Placeholder")
    handle = node(graph.node, "w", "VarHandleOp")
    handle.attr["dtype"].type = _FLOAT
    handle.attr["shape"].shape.dim.add(size=2)
    node(graph.node, "alias", "Identity", "w").attr["T"].type = _RESOURCE
    node(graph.node, "read", "ReadVariableOp", "alias", "^x")
    product = node(graph.node, "product", "MatMul", "x", "read", "^w")
    product.attr["_class"].list.s.append(b"loc:@w")
    if written:
        node(graph.node, "write", "AssignVariableOp", "alias", "x")
        product.input.append("^write")
    return graph


def test_a_variable_becomes_a_constant() -> None:
    graph = dense(written=False)
    (found,) = variables(graph, OPS)
    assert (found.handle, found.is_reference, found.elements) == ("w", False, 2)
    value = Tensor(dtype=_FLOAT, shape=(2,), data=b"12345678")
    where, sources = freeze(graph, {"w": value}, ["product:0", "x:0"], "new/")
    assert (where, sources) == ({"product:0": "new/product:0", "x:0": "x:0"}, ["w", "x"])
    by_name = {one.name: one for one in graph.node}
    assert by_name["new/read"].op == "Const"
    assert by_name["new/read"].attr["value"].tensor.tensor_content == value.data
    assert list(by_name["new/product"].input) == ["x", "new/read"]
    assert "_class" not in by_name["new/product"].attr


def test_a_variable_that_is_written_stays() -> None:
    assert variables(dense(written=True), OPS) == []


def test_what_may_run() -> None:
    graph = messages.GraphDef()
    branch = node(graph.node, "branch", "If")
    branch.attr["then_branch"].func.name = "then"
    node(graph.node, "elsewhere", "Restore")
    node(function(graph, "then", [], {}), "deep", "Insert")
    node(function(graph, "unused", [], {}), "never", "Never")
    assert {one.op for one in running_nodes(graph, ["branch:0"])} == {"If", "Insert"}
