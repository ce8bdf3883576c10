"""A SavedModel into a fused plan: a folder that engine `fused` serves.

    plan.json          what it was made of (versions of packages, the graph's hash), signatures, programs, vocabularies
    tables/HASH.fp32   embedding tables, named after their content: whoever serves equal ones shares the memory
    dense-N.xml, .bin  what remains of each signature, in OpenVINO's form
    dense-N/           the same as a SavedModel, where OpenVINO cannot run it
    unserved.json      signatures that no plan can serve, with the reasons
    original/          the SavedModel, for signatures that are not fused and for requests of other shapes

Needs TensorFlow and OpenVINO; serving the plan needs OpenVINO only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corelane.kernels.batching import JoinsRows, check_rows
from corelane.kernels.compiler import Compiled, Feed, Ids, NotFused, Table, compile_graph
from corelane.kernels.compiler.compile import WIDTH
from corelane.kernels.graph import GraphError
from corelane.kernels.graph.constants import fill_tensor
from corelane.processor._native import TensorFlowModel
from corelane.processor.engines.selection import PLAN
from corelane.processor.engines.tensorflow_engine import open_saved_model, unserved_signatures
from corelane.processor.engines.tensorflow_signatures import open_shape, ops_of
from corelane.processor.plans.dense_part import DensePart, node_of, write_openvino, write_tensorflow
from corelane.processor.plans.fused_engine import ORIGINAL, SCHEMA, UNSERVED
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SERVE_TAGS, Signature, TensorSpec, sparse_triples

_NODES_TOLD = 3
_SIZED_BY_VALUE = frozenset(
    {"Where", "Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2", "ListDiff", "DynamicPartition"}
    | {"NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5"}
)
_REF_VARIABLES = ("Variable", "VariableV2")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureReport:
    """`columns` are the inputs that features are made of; `blocked` says, by input, which op keeps it in the dense
    graph; `rules` say how often each was used, and at which nodes, some of them. `why_tensorflow` is why it runs what
    remains, if it does; `why_not`, why it runs the whole signature."""

    signature: str
    nodes_before: int
    nodes_after: int
    columns: int
    blocked: Mapping[str, str]
    rules: Mapping[str, tuple[int, Sequence[str]]]
    why_tensorflow: str = ""
    why_not: str | None = None


def compile_saved_model(
    folder: Path,
    out: Path,
    op_libraries: Sequence[str] = (),
    stop_after: int | None = None,
    why_tensorflow: str = "",
    *,
    carry: bool = True,
    tags: Sequence[str] = SERVE_TAGS,
) -> list[SignatureReport]:
    """Writes the plan of the SavedModel in `folder` to the new folder `out`, which is not whole if this fails.
    `why_tensorflow`, if not empty, is why TensorFlow is to run what remains; else OpenVINO does if it can. Unless told
    to `carry` it, the plan holds the SavedModel only if it cannot load without; whoever loads the plan then says where
    it is (EngineOptions.original).

    LoadError if the SavedModel cannot be read, NotFused if nothing of it can be fused."""
    import openvino  # noqa: F401, said here rather than after all the work

    # The first session of a process decides over the threads of all that follow.
    config = messages.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    model, meta_graph, signatures = open_saved_model(folder, op_libraries, config.SerializeToString(), tags=tags)
    (out / "tables").mkdir(parents=True)
    compilation = _Compilation(model, meta_graph.graph_def, out, why_tensorflow, tuple(tags))
    reports = compilation.run(signatures, stop_after)
    (out / UNSERVED).write_text(json.dumps(unserved_signatures(meta_graph.signature_def)))
    if carry or any(report.why_not for report in reports):
        _copy(folder, out / ORIGINAL)
    return reports


def package_versions() -> dict[str, str]:
    """Of the packages that make a difference to a plan, those that are there."""
    found = {}
    for package in ("tensorflow-cpu", "tensorflow", "openvino"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


class _Compilation:
    def __init__(
        self, model: TensorFlowModel, graph_def: bytes, out: Path, why_tensorflow: str, tags: tuple[str, ...]
    ) -> None:
        self._model, self._graph_def, self._out = model, graph_def, out
        self._why_tensorflow = why_tensorflow
        self._tags = tags
        self._ops = ops_of(model)
        self._nodes = {node.name: node for node in messages.GraphDef.FromString(graph_def).node}
        self._values: dict[str, list[np.ndarray]] = {}  # of a variable; keys and ids of a vocabulary
        self._files: dict[Table, dict[str, Any]] = {}

    def run(self, signatures: Mapping[str, Signature], stop_after: int | None) -> list[SignatureReport]:
        for signature in signatures.values():
            if signature.effect:
                raise NotFused(f"signature {signature.name} changes what others may look at: {signature.effect}")
        plans: list[dict[str, Any]] = []
        reports = []
        for index, signature in enumerate(signatures.values()):
            try:
                plan, report = self._fuse(signature, index, stop_after)
            except NotFused as error:
                plan, report = self._left(signature, str(error))
            plans.append(plan)
            reports.append(report)
        if not any("program" in plan for plan in plans):
            raise NotFused(f"signature {reports[0].signature}: {reports[0].why_not}")
        made = {**package_versions(), "graph": hashlib.blake2b(self._graph_def, digest_size=16).hexdigest()}
        plan = {"schema": SCHEMA, "made_of": made, "tags": self._tags, "signatures": plans}
        (self._out / PLAN).write_text(json.dumps(plan))
        return reports

    def _fuse(self, signature: Signature, index: int, stop_after: int | None) -> tuple[dict[str, Any], SignatureReport]:
        compiled = self._compile(signature, stop_after)
        plan, nodes_after, why_tensorflow = self._plan(signature, compiled, index)
        used: dict[str, list[str]] = {}
        for one in compiled.applied:
            used.setdefault(one.rule, []).append(f"{one.op} {one.node}")
        rules = {rule: (len(nodes), nodes[:_NODES_TOLD]) for rule, nodes in used.items()}
        report = SignatureReport(
            signature=signature.name,
            nodes_before=compiled.nodes_before,
            nodes_after=nodes_after,
            columns=len(compiled.fused),
            blocked=dict(compiled.blocked),
            rules=rules,
            why_tensorflow=why_tensorflow,
        )
        return plan, report

    def _left(self, signature: Signature, why: str) -> tuple[dict[str, Any], SignatureReport]:
        """A signature that TensorFlow runs."""
        report = SignatureReport(
            signature=signature.name, nodes_before=0, nodes_after=0, columns=0, blocked={}, rules={}, why_not=why
        )
        return {"name": signature.name}, report

    def _compile(self, signature: Signature, stop_after: int | None) -> Compiled:
        triples = {
            name: (one.indices, one.values, one.shape)
            for one in sparse_triples(signature)
            for name in (one.indices, one.values, one.shape)
        }
        feeds = [
            Feed(
                name=spec.name,
                tensor=spec.engine_name,
                dtype=tensors.type_number(spec.dtype),
                shape=spec.shape,
                triple=triples.get(spec.name),
            )
            for spec in signature.inputs.values()
        ]
        graph = messages.GraphDef.FromString(self._graph_def)
        outputs = [spec.engine_name for spec in signature.outputs.values()]
        try:
            return compile_graph(graph, self._ops, feeds, outputs, self._ids(), stop_after)
        except GraphError as error:
            raise NotFused(f"its graph cannot be rewritten: {error}") from error

    def _ids(self) -> dict[str, Ids]:
        """Of each vocabulary of ids."""
        handles = [
            node.name
            for node in self._nodes.values()
            if node.op == "HashTableV2" and tensors.type_name(node.attr["value_dtype"].type) == "DT_INT64"
        ]
        self._load(handles)
        ids = {handle: self._values[handle][1] for handle in handles}
        return {
            handle: Ids(least=int(found.min()), largest=int(found.max()), keys=found.size)
            for handle, found in ids.items()
            if found.size
        }

    def _plan(self, signature: Signature, compiled: Compiled, index: int) -> tuple[dict[str, Any], int, str]:
        inputs = list(signature.inputs)
        self._load(name for table in compiled.tables if table.is_variable for name in table.parts or (table.source,))
        self._load(compiled.variables.values())
        self._fill_variables(compiled)
        tables = [self._table(table, compiled) for table in compiled.tables]
        where, dense, why_tensorflow = self._write_dense(signature, compiled, index)
        features = {name: number for number, name in enumerate(compiled.features)}
        placeholders = {node_of(signature.inputs[name].engine_name): name for name in compiled.fed}
        dense_inputs = []
        for name in dense.inputs:
            if name in features:
                shape = compiled.features[name]
                dims = [size if isinstance(size, int) else [inputs.index(size[0]), size[1]] for size in shape]
                dense_inputs.append([True, features[name], dims])
            else:
                dense_inputs.append([False, inputs.index(placeholders[name]), []])
        program = {
            "instructions": [_plain(instruction) for instruction in compiled.instructions],
            "outputs": list(compiled.outputs),
            "registers": compiled.registers,
            "feeds": [inputs.index(name) for name in compiled.rows],
            "tables": tables,
            "maps": [self._vocabulary(handle) for handle in compiled.maps],
        }
        plan = {
            "name": signature.name,
            "method": signature.method,
            "inputs": [_spec(spec) for spec in signature.inputs.values()],
            "outputs": [_spec(spec) for spec in signature.outputs.values()],
            "program": program,
            "dense": where,
            "dense_inputs": dense_inputs,
            "joins_rows": compiled.joins_rows or self._joins_rows(signature, compiled),
        }
        return plan, dense.nodes, why_tensorflow

    def _joins_rows(self, signature: Signature, compiled: Compiled) -> str:
        """Why requests cannot run together, for what is behind the features; empty if they can."""
        inputs: dict[str, list[int | None] | None] = {
            name: None if WIDTH in shape else [None, *(size if isinstance(size, int) else None for size in shape[1:])]
            for name, shape in compiled.features.items()
        }
        for name in compiled.fed:
            inputs[signature.inputs[name].engine_name] = open_shape(signature.inputs[name])
        try:
            outputs = [compiled.where[spec.engine_name] for spec in signature.outputs.values()]
            check_rows(compiled.dense, self._ops, inputs, outputs)
        except (JoinsRows, GraphError) as error:
            return str(error)
        return ""

    def _load(self, handles: Iterable[str]) -> None:
        """Reads variables and vocabularies that are not read yet, in one run."""
        wanted = sorted(set(handles) - self._values.keys())
        if not wanted:
            return
        graph = messages.GraphDef()
        fetches: list[str] = []
        counts = []
        for handle in wanted:
            node = graph.node.add(name=f"corelane_fused/{len(self._values)}/{len(fetches)}")
            counts.append(self._make_read(node, handle))
            fetches += [f"{node.name}:{index}" for index in range(counts[-1])]
        self._model.extend(graph.SerializeToString(), wanted)
        found = iter([_array(*one) for one in self._model.fetch(fetches)])
        for handle, count in zip(wanted, counts, strict=True):
            self._values[handle] = [next(found) for _ in range(count)]

    def _make_read(self, node: Any, handle: str) -> int:
        """Makes a node read a handle; how many tensors that gives."""
        original = self._node(handle)
        node.input.append(handle)
        if original.op == "HashTableV2":
            node.op = "LookupTableExportV2"
            node.attr["Tkeys"].type = original.attr["key_dtype"].type
            node.attr["Tvalues"].type = original.attr["value_dtype"].type
            return 2
        is_reference = original.op in _REF_VARIABLES
        node.op = "Identity" if is_reference else "ReadVariableOp"
        node.attr["T" if is_reference else "dtype"].type = original.attr["dtype"].type
        return 1

    def _node(self, name: str) -> Any:
        if name not in self._nodes:
            raise NotFused(f"a function makes a resource of its own, {name}")
        return self._nodes[name]

    def _fill_variables(self, compiled: Compiled) -> None:
        for node in compiled.dense.node:
            if node.name in compiled.variables:
                (array,) = self._values[compiled.variables[node.name]]
                fill_tensor(node.attr["value"].tensor, array)
                node.attr["dtype"].type = node.attr["value"].tensor.dtype

    def _table(self, table: Table, compiled: Compiled) -> dict[str, Any]:
        """Its file, named after its content."""
        if table not in self._files:
            if table.parts:
                array = np.concatenate([self._values[part][0] for part in table.parts])[compiled.orders[table.source]]
            else:
                array = self._values[table.source][0] if table.is_variable else compiled.constants[table.source]
            data = np.ascontiguousarray(array, np.float32)
            name = f"tables/{hashlib.blake2b(data.data, digest_size=16).hexdigest()}.fp32"
            if not (self._out / name).exists():
                data.tofile(self._out / name)
            self._files[table] = {"file": name, "type": "fp32", "rows": table.rows, "dimension": table.dimension}
        return self._files[table]

    def _vocabulary(self, handle: str) -> dict[str, Any]:
        keys, ids = self._values[handle]
        kind = "strings" if keys.dtype == object else "ints"
        # JSON has no bytes: one character a byte.
        found = [key.decode("latin-1") for key in keys.tolist()] if kind == "strings" else keys.tolist()
        return {kind: found, "ids": ids.tolist()}

    def _write_dense(self, signature: Signature, compiled: Compiled, index: int) -> tuple[str, DensePart, str]:
        """Its file or folder, what is known of it, and why it is TensorFlow's, if it is."""
        name = f"dense-{index}"
        try:
            if self._why_tensorflow:
                raise NotFused(self._why_tensorflow)
            _refuse_sizes_by_value(compiled.dense)
            return f"{name}.xml", write_openvino(compiled, signature, self._out / f"{name}.xml"), ""
        except NotFused as error:
            self._load(compiled.vocabularies)
            vocabularies = {handle: self._values[handle] for handle in compiled.vocabularies}
            return name, write_tensorflow(compiled, signature, vocabularies, self._out / name), str(error)


def _refuse_sizes_by_value(graph: Any) -> None:
    """NotFused for OpenVINO if an op of the dense graph makes as many elements as its values say. When they come to
    none, OpenVINO leaves out what works on them, and the answer has what an earlier run left."""
    for node in graph.node:
        if node.op in _SIZED_BY_VALUE:
            raise NotFused(f"values decide how many elements {node.op} ({node.name}) makes")


def _copy(folder: Path, out: Path) -> None:
    """The files, links followed. Their modes and times stay behind: a sandbox allows no change of those."""
    for directory, _, names in os.walk(folder, followlinks=True):
        target = out / Path(directory).relative_to(folder)
        target.mkdir()
        for name in names:
            # A link that the sandbox does not follow, or that leads nowhere, is no file of the model's.
            with contextlib.suppress(PermissionError, FileNotFoundError):
                _link(os.path.join(directory, name), str(target / name))


def _link(source: str, target: str) -> None:
    """One file under two names, where the file system can."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _array(dtype: int, dims: Sequence[int], data: bytes | list[bytes]) -> np.ndarray:
    if isinstance(data, list):
        found = np.empty(len(data), np.object_)
        found[:] = data
        return found.reshape(dims)
    return np.frombuffer(data, NUMPY_TYPES[tensors.type_name(dtype)]).reshape(dims)


def _spec(spec: TensorSpec) -> dict[str, Any]:
    if spec.default is not None:
        raise NotFused(f"input {spec.name} has a default")
    return {"name": spec.name, "dtype": spec.dtype, "shape": None if spec.shape is None else list(spec.shape)}


def _plain(instruction: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON: one character a byte."""
    return {
        name: value.decode("latin-1")
        if isinstance(value, bytes)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in instruction.items()
    }
