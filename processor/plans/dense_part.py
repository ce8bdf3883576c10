"""What remains of a graph once its features are made elsewhere, as a model of its own: OpenVINO's, or TensorFlow's.

Both are given the features, and of the signature's own inputs those that the rest takes.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corelane.kernels.compiler import Compiled, NotFused
from corelane.kernels.graph.constants import fill_tensor
from corelane.processor.engines.openvino_ranges import Inexact, Range, input_ranges, narrowed
from corelane.processor.engines.openvino_rules import RULES
from corelane.processor.engines.openvino_walk import Walk
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, NUMPY_TYPES, Signature, TensorSpec

_OUTPUT = "corelane_output_"
_INIT_OP = "__saved_model_init_op"
_WHOLE_MAX = 2**8  # of floats in the least precision that a plan is served in
_CONSTANT_BYTES_MAX = 1 << 30  # protobuf cannot carry 2 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class DensePart:
    """`inputs` are the names of its placeholders, in its own order."""

    inputs: Sequence[str]
    nodes: int


def write_openvino(compiled: Compiled, signature: Signature, path: Path) -> DensePart:
    """Converts the rest of a signature to `path` (.xml, and .bin beside it). NotFused if OpenVINO cannot run it, or
    would compute its integers and float64 otherwise than TensorFlow; OSError if there is no room for it."""
    import openvino

    if compiled.strings:
        raise NotFused(f"strings are left to the dense part: {compiled.strings}")
    graph = _with_outputs(compiled, signature)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".pb") as file:
        file.write(graph.SerializeToString())
        file.flush()
        try:
            converted = openvino.convert_model(file.name)
        except Exception as error:  # a dozen kinds, of the front end's own
            raise NotFused(f"OpenVINO cannot run what remains: {_first_line(error)}") from error
    types = {node.name: node.attr["dtype"].type for node in graph.node if node.op == "Placeholder"}
    names = [_output(index) for index in range(len(signature.outputs))]
    # What only passes an input on gives it a name more.
    order = [next((node_of(name) for name in port.names if node_of(name) in types), "") for port in converted.inputs]
    results = {node_of(name): port.node for port in converted.outputs for name in port.names}
    if not all(order) or set(names) - results.keys():
        raise NotFused("OpenVINO made other inputs or outputs of what remains")
    converted = openvino.Model([results[name] for name in names], converted.get_parameters(), signature.name)
    for name, port in zip(order, converted.inputs, strict=True):
        if port.element_type.to_dtype() != NUMPY_TYPES[tensors.type_name(types[name])]:
            raise NotFused(f"OpenVINO takes another type for {name}")
    for port, spec in zip(converted.outputs, signature.outputs.values(), strict=True):
        found, wanted = port.element_type.to_dtype(), NUMPY_TYPES[spec.dtype]
        if found != wanted:
            raise NotFused(f"OpenVINO makes output {spec.name} {found}, not {wanted}")
    try:
        Walk(
            model=converted,
            given=_ranges(converted, order, compiled),
            rules=RULES,
            counts_back=False,
            has_elements=False,
            whole_max=_WHOLE_MAX,
        ).run()
    except Inexact as error:
        raise NotFused(f"OpenVINO would not compute what remains as TensorFlow does: {error}") from error
    try:
        openvino.save_model(converted, str(path), compress_to_fp16=False)
    except RuntimeError as error:
        # The disk is full, most likely; its words are those of a C++ stream.
        raise OSError(f"OpenVINO cannot write {path.name}: {_first_line(error)}") from error
    return DensePart(inputs=order, nodes=len(converted.get_ops()))


def _ranges(converted: Any, order: Sequence[str], compiled: Compiled) -> list[Range | None]:
    """What the inputs' integers lie between: those that the program makes, and all that a request may hold."""
    ranges = input_ranges(converted)
    return [
        narrowed(value, [compiled.intervals[name]]) if value is not None and name in compiled.intervals else value
        for name, value in zip(order, ranges, strict=True)
    ]


def write_tensorflow(
    compiled: Compiled, signature: Signature, vocabularies: Mapping[str, Sequence[np.ndarray]], folder: Path
) -> DensePart:
    """Writes the rest of a signature as a SavedModel to the new folder `folder`, its variables as constants.
    `vocabularies` are the keys and ids of the tables that it still looks into, by handle."""
    graph = _with_outputs(compiled, signature)
    for node in graph.node:
        if node.op in ("VarHandleOp", "VariableV2", "Variable"):
            raise NotFused(f"what remains needs variable {node.name} itself, not its value")
    if graph.ByteSize() > _CONSTANT_BYTES_MAX:
        raise NotFused(f"what remains has {graph.ByteSize() >> 20} MiB of constants, more than a SavedModel may have")
    saved = messages.SavedModel(saved_model_schema_version=1)
    meta_graph = saved.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    definition = meta_graph.signature_def[DEFAULT_SIGNATURE]
    definition.method_name = signature.method
    placeholders = sorted((node for node in graph.node if node.op == "Placeholder"), key=lambda node: str(node.name))
    for node in placeholders:
        _inform(definition.inputs[node.name], f"{node.name}:0", node.attr["dtype"].type, node.attr["shape"].shape)
    for index, spec in enumerate(signature.outputs.values()):
        _inform(definition.outputs[spec.name], f"{_output(index)}:0", tensors.type_number(spec.dtype), _shape(spec))
    fills = [_fill(graph, handle, *found) for handle, found in vocabularies.items()]
    init = graph.node.add(name="corelane_init", op="NoOp")
    init.input.extend(f"^{name}" for name in fills)
    meta_graph.signature_def[_INIT_OP].outputs[_INIT_OP].name = init.name
    meta_graph.graph_def = graph.SerializeToString()
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return DensePart(inputs=[node.name for node in placeholders], nodes=len(graph.node))


def node_of(reference: str) -> str:
    return reference.split(":")[0]


def _output(index: int) -> str:
    return f"{_OUTPUT}{index}"


def _with_outputs(compiled: Compiled, signature: Signature) -> Any:
    """The graph, with a node of a known name for each output."""
    graph = messages.GraphDef()
    graph.CopyFrom(compiled.dense)
    for index, spec in enumerate(signature.outputs.values()):
        node = graph.node.add(name=_output(index), op="Identity")
        node.input.append(compiled.where[spec.engine_name])
        node.attr["T"].type = tensors.type_number(spec.dtype)
    return graph


def _inform(info: Any, name: str, dtype: int, shape: Any) -> None:
    info.name, info.dtype = name, dtype
    info.tensor_shape.CopyFrom(shape)


def _shape(spec: TensorSpec) -> Any:
    shape = messages.TensorShapeProto(unknown_rank=spec.shape is None)
    for size in spec.shape or ():
        shape.dim.add(size=size)
    return shape


def _fill(graph: Any, handle: str, keys: np.ndarray, ids: np.ndarray) -> str:
    """The node that fills a vocabulary."""
    name = f"{handle}/corelane_fill"
    fill = graph.node.add(name=name, op="InitializeTableV2")
    fill.input.append(handle)
    for part, attribute, array in (("keys", "Tkey", keys), ("ids", "Tval", ids)):
        constant = graph.node.add(name=f"{name}/{part}", op="Const")
        fill_tensor(constant.attr["value"].tensor, array)
        dtype = constant.attr["value"].tensor.dtype
        constant.attr["dtype"].type = dtype
        fill.attr[attribute].type = dtype
        fill.input.append(f"{constant.name}:0")
    return name


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines if "No translator" in line or "Internal error" in line or "onversion" in line]
    return (wanted or lines or [type(error).__name__])[0][:300]
