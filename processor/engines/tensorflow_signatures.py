"""What is known of a SavedModel's signatures from its graph, without running it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from corelane.kernels.batching import JoinsRows, check_rows
from corelane.kernels.graph import GraphError, inline_calls
from corelane.kernels.graph.defaults import spell_out_defaults
from corelane.kernels.graph.effects import effect_of
from corelane.processor._native import TensorFlowModel
from corelane.processor.errors import LoadError
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import Signature, TensorSpec


def ops_of(model: TensorFlowModel) -> dict[str, Any]:
    """The OpDefs of the process, those of op libraries included, by name."""
    return {op.name: op for op in messages.OpList.FromString(model.ops()).op}


def effects_examined(
    graph_def: bytes, ops: Mapping[str, Any], signatures: Mapping[str, Signature]
) -> dict[str, Signature]:
    """The signatures with their `effect`. LoadError if the graph lacks an output of one."""
    graph = messages.GraphDef.FromString(graph_def)
    try:
        return {
            name: dataclasses.replace(signature, effect=effect_of(graph, ops, _references(signature)))
            for name, signature in signatures.items()
        }
    except GraphError as error:
        raise LoadError(f"a signature cannot be served: {error}") from error


def rows_examined(
    graph_def: bytes, ops: Mapping[str, Any], signatures: Mapping[str, Signature]
) -> dict[str, Signature]:
    """The signatures with `joins_rows` settled."""
    return {
        name: dataclasses.replace(signature, joins_rows=_joins_rows(graph_def, ops, signature))
        for name, signature in signatures.items()
    }


def open_shape(spec: TensorSpec) -> list[int | None] | None:
    """A signature's shape as `check_rows` takes it."""
    return None if spec.shape is None else [None if size == -1 else size for size in spec.shape]


def _joins_rows(graph_def: bytes, ops: Mapping[str, Any], signature: Signature) -> str:
    graph = messages.GraphDef.FromString(graph_def)
    inputs = {spec.engine_name: open_shape(spec) for spec in signature.inputs.values()}
    try:
        where = inline_calls(graph, ops, _references(signature))
        spell_out_defaults(graph, ops)
        check_rows(graph, ops, inputs, where.values())
    except (JoinsRows, GraphError) as error:
        return str(error)
    return ""


def _references(signature: Signature) -> list[str]:
    return sorted({spec.engine_name for spec in signature.outputs.values()})
