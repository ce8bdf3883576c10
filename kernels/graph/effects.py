"""Whether a run of a graph changes what a later run sees, or anything outside it.

An op is taken to have an effect unless it is known to have none: it is stateful by its definition or takes a reference,
and stands neither among the readers nor among the ops whose state ends with the run. Custom ops are judged by their
definitions, which TensorFlow itself relies on when it drops or repeats ops that are not stateful.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from corelane.kernels.graph.reach import running_nodes


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Stateful by definition, and yet a run leaves no trace: handles, reads, checks, calls whose bodies are looked at apart.
_READERS = _names(
    """
    Assert CheckNumerics CheckNumericsV2 DeviceIndex DisableCopyOnRead Empty GraphDefVersion GuaranteeConst
    HashTable HashTableV2 MutableHashTable MutableHashTableV2 MutableHashTableOfTensors MutableHashTableOfTensorsV2
    MutableDenseHashTable MutableDenseHashTableV2 LookupTableExport LookupTableExportV2 LookupTableFind
    LookupTableFindV2 LookupTableSize LookupTableSizeV2
    Variable VariableV2 VarHandleOp _VarHandlesOp ReadVariableOp _ReadVariablesOp ResourceGather ResourceGatherNd
    VariableShape VarIsInitializedOp IsVariableInitialized IsResourceHandleRefCounting IsTensorFloat32Enabled
    RefIdentity RefSwitch RefMerge RefEnter RefExit RefNextIteration RefSelect
    BoostedTreesEnsembleResourceHandleOp BoostedTreesPredict IsBoostedTreesEnsembleInitialized
    SimpleMLCreateModelResource SimpleMLInferenceOp SimpleMLInferenceOpWithHandle SimpleMLInferenceLeafIndexOpWithHandle
    If _If While _While Case StatefulPartitionedCall _Arg _Retval _DeviceArg _DeviceRetval
    Print Timestamp StatelessRandomGetAlg
    """
)
# Their state is of one run: TensorFlow drops it with the run's own resources.
_OF_ONE_RUN = _names(
    """
    StackV2 StackPushV2 StackPopV2 StackCloseV2 TensorArrayV3 TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3
    TensorArrayGradV3 TensorArrayGradWithShape TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArraySplitV3 TensorArrayWriteV3
    """
)
# Not stateful by definition, and yet they write: to the memory of what they are given, which may be a variable's or a
# constant's, or to a file.
_WRITERS = ("Inplace", "Debug", "_ParallelConcatUpdate")
_SEEDS = {"seed", "seed2"}
_RESOURCE = 20  # DataType.DT_RESOURCE


def effect_of(graph: Any, ops: Mapping[str, Any], outputs: Iterable[str]) -> str:
    """The first node found that leaves a trace when the tensors `outputs` ("node:0") are computed, in words; empty if
    no node does. `ops` are OpDefs by name. GraphError if the graph lacks an output."""
    functions = {function.signature.name for function in graph.library.function}
    for node in running_nodes(graph, outputs):
        if node.op not in functions and _has_effect(node, ops.get(node.op)):
            return f"op {node.op} ({node.name}) changes state"
    return ""


def only_reads(op: str) -> bool:
    """Whether an op is known to leave no trace although its definition calls it stateful."""
    return op in _READERS or op in _OF_ONE_RUN


def _has_effect(node: Any, definition: Any) -> bool:
    if definition is None:
        return True
    if node.op.startswith(_WRITERS):
        return True
    if not definition.is_stateful and not any(argument.is_ref for argument in definition.input_arg):
        return False
    if only_reads(node.op):
        return False
    if node.op == "PrintV2":
        return node.attr["output_stream"].s.startswith(b"file://")
    return not _is_unseeded_random(node, definition)


def _is_unseeded_random(node: Any, definition: Any) -> bool:
    """An op that draws from a generator of its own, which nobody gave a seed: its draws are no one's to repeat."""
    if not {attribute.name for attribute in definition.attr} >= _SEEDS:
        return False
    takes_resource = any(argument.type == _RESOURCE or argument.is_ref for argument in definition.input_arg)
    return not takes_resource and all(node.attr[name].i == 0 for name in _SEEDS)
