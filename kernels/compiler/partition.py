"""Where a graph is cut: features on one side, what remains of it on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis
from corelane.kernels.compiler.common import as_feature, known_int, rows_of
from corelane.kernels.compiler.flow import key
from corelane.kernels.compiler.sizes import BATCH, BATCH_SYMBOL, Size
from corelane.kernels.compiler.terms import Feature, Known, Opaque, Part, Sizes, Table, Term, Vector
from corelane.kernels.graph.constants import BOOL, FLOAT, INT32, INT64, fill_tensor
from corelane.kernels.graph.reach import GraphError, producer

_READS = ("ReadVariableOp", "VariableV2", "Variable")
_FEATURE = "corelane_feature_"


@dataclass(kw_only=True)
class Partition:
    """`features` are fed to the placeholders of these names. `fed` are the signature's own inputs that the rest of the
    graph takes; `variables`, by the node that reads one, the handles whose values it needs. `where` has the tensors
    of the outputs."""

    graph: Any
    features: dict[str, Feature] = field(default_factory=dict)
    fed: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


def partition(analysis: Analysis, graph: Any, outputs: Sequence[str]) -> Partition:
    """Cuts at the features that are nearest to the outputs. `graph` gives the message class of what is made."""
    return _Cut(analysis, type(graph)()).run(outputs)


class _Cut:
    def __init__(self, analysis: Analysis, graph: Any) -> None:
        self._analysis = analysis
        self._found = Partition(graph=graph)
        self._feeds = {key(feed.tensor): feed for feed in analysis.feeds}
        self._done: dict[str, str] = {}  # tensor to what stands for it
        self._by_feature: dict[Feature, str] = {}
        self._nodes: set[str] = set()
        self._source: tuple[str, int] | None = None  # a tensor whose first axis is the batch, and its type
        self._batch = ""

    def run(self, outputs: Sequence[str]) -> Partition:
        for reference in outputs:
            self._found.where[reference] = self._tensor(key(reference))
        return self._found

    def _tensor(self, reference: str) -> str:
        """Makes what a tensor depends on, unless it is there; deep graphs are walked without recursion."""
        waiting = [reference]
        while waiting:
            now = waiting[-1]
            if now in self._done:
                waiting.pop()
                continue
            made = self._at_once(now)
            if made is not None:
                self._done[now] = made
                waiting.pop()
                continue
            node = self._analysis.flow.nodes[producer(now)]
            inputs = self._inputs(node)
            missing = [one for one in inputs if isinstance(one, str) and one not in self._done]
            if missing:
                waiting.extend(missing)
                continue
            self._copy(node, inputs)
            self._done[now] = now
            waiting.pop()
        return self._done[reference]

    def _at_once(self, reference: str) -> str | None:
        """What a tensor is if it takes nothing else of the graph."""
        if reference in self._feeds:
            return self._feed(reference)
        term = self._analysis.terms.get(reference, Opaque())
        feature = self._feature(term)
        if feature is not None:
            return self._placeholder(feature)
        node = self._analysis.flow.nodes[producer(reference)]
        if node.op in _READS:
            return self._variable(node)
        if isinstance(term, Known):
            return self._constant(node.name, term.array)
        if isinstance(term, Sizes):
            return self._sizes(reference, term.values)
        return None

    def _feature(self, term: Term) -> Feature | None:
        """What is worth making apart: everything but numbers as they were fed."""
        if isinstance(term, Vector):
            value = self._analysis.values[term.value]
            if value.opcode.startswith("load") or term.dtype not in (INT32, INT64, FLOAT, BOOL):
                return None
        elif not isinstance(term, Feature):
            return None
        feature = as_feature(self._analysis, term)
        if feature is None:
            return None
        sizes = [size for size in feature.shape[1:] if size.constant is None and axis_of(size) is None]
        # One that only the program knows follows from the others.
        if len(sizes) > 1 or any(rows_of(size) is None for size in sizes):
            return None
        return feature

    def _inputs(self, node: Any) -> list[str | Feature]:
        """A node's inputs; of a concatenation, neighbours that are features become one."""
        references = self._analysis.flow.data_inputs(node)
        if node.op == "ResourceGather":
            return list(references[1:])  # of the variable, the value is taken
        if node.op != "ConcatV2":
            return list(references)
        terms = [self._analysis.terms.get(reference, Opaque()) for reference in references]
        if known_int(terms[-1]) not in (1, -1):
            return list(references)
        found: list[str | Feature] = []
        for reference, term in zip(references[:-1], terms, strict=False):
            feature = self._feature(term)
            if feature is None or len(feature.shape) != 2 or feature.shape[1].constant is None:
                found.append(reference)
            elif found and isinstance(found[-1], Feature):
                before = found[-1]
                width = before.shape[1] + feature.shape[1]
                found[-1] = Feature(before.parts + feature.parts, (BATCH, width), feature.dtype)
            else:
                found.append(feature)
        return [*found, references[-1]]

    def _copy(self, node: Any, inputs: list[str | Feature]) -> None:
        if node.name in self._nodes:
            return
        if node.op == "ResourceGather":
            self._gather(node)
            return
        copy = type(node).FromString(node.SerializeToString())
        made = [self._placeholder(one) if isinstance(one, Feature) else self._done[one] for one in inputs]
        copy.input[:] = [
            self._reshape_target(node, index, one, now)
            for index, (one, now) in enumerate(zip(inputs, made, strict=True))
        ]
        if node.op == "ConcatV2" and len(made) == 2:
            self._node(node.name, "Identity", [made[0]], T=node.attr["T"].type)  # of one there is no concatenation
            return
        if node.op == "ConcatV2":
            copy.attr["N"].i = len(made) - 1
        copy.attr.pop("_class", None)
        copy.device = ""
        self._add(copy)

    def _gather(self, node: Any) -> None:
        """A lookup in a variable as one in its value."""
        handle, ids = self._analysis.flow.data_inputs(node)
        value = self._variable(self._analysis.flow.nodes[producer(handle)])
        if value is None or node.attr["batch_dims"].i:
            raise GraphError(f"{node.op} ({node.name}) looks up rows of what is no variable")
        axis = self._constant(f"{node.name}/corelane_axis", np.array(0, np.int32))
        types = {"Tindices": node.attr["Tindices"].type, "Taxis": INT32, "Tparams": node.attr["dtype"].type}
        self._node(node.name, "GatherV2", [value, self._done[ids], axis], **types)

    def _reshape_target(self, node: Any, index: int, reference: str | Feature, now: str) -> str:
        """Reshape finds one size by itself, so that nothing need compute the batch."""
        term = self._analysis.terms.get(reference, Opaque()) if isinstance(reference, str) else Opaque()
        if node.op != "Reshape" or index != 1 or not isinstance(term, Sizes) or term.values.ndim != 1:
            return now
        sizes = [size.constant for size in term.values]
        if sizes.count(None) != 1 or any(size is not None and size < 1 for size in sizes):
            return now
        array = np.array([-1 if size is None else size for size in sizes], np.int32)
        return self._constant(f"{node.name}/corelane_shape", array)

    def _add(self, node: Any) -> None:
        self._nodes.add(node.name)
        self._found.graph.node.append(node)

    def _node(self, name: str, op: str, inputs: Sequence[str] = (), **types: int) -> Any:
        node = self._found.graph.node.add(name=name, op=op)
        node.input.extend(inputs)
        for attribute, number in types.items():
            node.attr[attribute].type = number
        self._nodes.add(name)
        return node

    def _feed(self, reference: str) -> str:
        feed = self._feeds[reference]
        name = producer(reference)
        if name not in self._nodes:
            node = self._node(name, "Placeholder", dtype=feed.dtype)
            shape = node.attr["shape"].shape
            if feed.shape is None:
                shape.unknown_rank = True
            else:
                for size in feed.shape:
                    shape.dim.add(size=size)
            self._found.fed.append(feed.name)
        return f"{name}:0"

    def _placeholder(self, feature: Feature) -> str:
        if feature not in self._by_feature:
            name = f"{_FEATURE}{len(self._by_feature)}"
            node = self._node(name, "Placeholder", dtype=_fed_type(feature))
            for size in feature.shape:
                node.attr["shape"].shape.dim.add(size=-1 if size.constant is None else size.constant)
            self._found.features[name] = feature
            self._source = self._source or (name, _fed_type(feature))
            if feature.dtype in (INT32, BOOL):
                name = self._node(f"{name}/cast", "Cast", [f"{name}:0"], SrcT=INT64, DstT=feature.dtype).name
            self._by_feature[feature] = name
        return f"{self._by_feature[feature]}:0"

    def _variable(self, node: Any) -> str | None:
        """A read of a variable, whose value comes later."""
        handle = node.name
        while self._analysis.flow.nodes[handle].op in ("ReadVariableOp", "Identity"):
            handle = producer(self._analysis.flow.nodes[handle].input[0])
        if self._analysis.flow.nodes[handle].op not in ("VarHandleOp", "VariableV2", "Variable"):
            return None
        if node.name not in self._nodes:
            self._node(node.name, "Const")
            self._found.variables[node.name] = handle
        return f"{node.name}:0"

    def _constant(self, name: str, array: np.ndarray) -> str:
        if name not in self._nodes:
            node = self._node(name, "Const")
            fill_tensor(node.attr["value"].tensor, array)
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
        return f"{name}:0"

    def _sizes(self, reference: str, values: np.ndarray) -> str | None:
        """Sizes of the batch, computed from the first axis of what is there; others are left to the graph."""
        flat = [Size.of(size) for size in values.ravel()]
        if any(symbol != BATCH_SYMBOL for size in flat for monomial, _ in size.terms for symbol in monomial):
            return None
        if any(len(monomial) > 1 for size in flat for monomial, _ in size.terms):
            return None
        name = f"corelane_size_{len(self._nodes)}"
        constants = [size.constant for size in flat]
        dtype = self._analysis_dtype(reference)
        if None not in constants:
            array = np.array(constants, np.int64 if dtype == INT64 else np.int32).reshape(values.shape)
            return self._constant(name, array)
        batch = self._batch_size()
        if batch is None:
            return None
        parts = []
        for index, size in enumerate(flat):
            terms = dict(size.terms)
            factor, plus = terms.get((BATCH_SYMBOL,), 0), terms.get((), 0)
            times = self._constant(f"{name}/times_{index}", np.array(factor, np.int32))
            more = self._constant(f"{name}/plus_{index}", np.array(plus, np.int32))
            self._node(f"{name}/product_{index}", "Mul", [batch, times], T=INT32)
            self._node(f"{name}/sum_{index}", "AddV2", [f"{name}/product_{index}:0", more], T=INT32)
            parts.append(f"{name}/sum_{index}:0")
        made = parts[0]
        if values.ndim == 1:
            pack = self._node(f"{name}/pack", "Pack", parts, T=INT32)
            pack.attr["N"].i = len(parts)
            made = f"{name}/pack:0"
        if dtype == INT64:
            cast = self._node(f"{name}/cast", "Cast", [made], SrcT=INT32, DstT=INT64)
            made = f"{cast.name}:0"
        return made

    def _analysis_dtype(self, reference: str) -> int:
        """Of a tensor of sizes, by the attribute that says it."""
        node = self._analysis.flow.nodes[producer(reference)]
        for name in ("out_type", "DstT", "Tparams", "T", "dtype", "Tshape"):
            if name in node.attr and node.attr[name].type in (INT32, INT64):
                return int(node.attr[name].type)
        return INT32

    def _batch_size(self) -> str | None:
        """A scalar; None as long as no tensor of rows is there."""
        if not self._batch:
            if self._source is None:
                return None
            source, dtype = self._source
            name = "corelane_batch"
            shape = self._node(f"{name}/shape", "Shape", [f"{source}:0"], T=dtype, out_type=INT32)
            ends = [
                self._constant(f"{name}/{end}", np.array([number], np.int32))
                for end, number in (("begin", 0), ("end", 1), ("step", 1))
            ]
            slice_ = self._node(name, "StridedSlice", [f"{shape.name}:0", *ends], T=INT32, Index=INT32)
            slice_.attr["shrink_axis_mask"].i = 1
            self._batch = f"{name}:0"
        return self._batch


def _fed_type(feature: Feature) -> int:
    """Programs make floats and 64-bit ints."""
    return FLOAT if feature.dtype == FLOAT else INT64


def axis_of(size: Size) -> tuple[str, int] | None:
    """The input and its axis that a size is, if it is one."""
    if len(size.terms) == 1 and size.terms[0][1] == 1 and len(size.terms[0][0]) == 1:
        symbol = size.terms[0][0][0]
        if symbol[0] == "axis":
            return str(symbol[1]), int(symbol[2])
    return None


def tables_of(features: Mapping[str, Feature]) -> list[Table]:
    """Every table that features look rows up in, once."""
    parts: list[Part] = [part for feature in features.values() for part in feature.parts]
    return list(dict.fromkeys(part.table for part in parts if part.table is not None))
