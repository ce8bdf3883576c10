"""What OpenVINO's ops do to the integers that they are given; `openvino_walk` walks a model with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from corelane.processor.engines.openvino_columns import shifted, wrapped
from corelane.processor.engines.openvino_floats import Floats, inside_level
from corelane.processor.engines.openvino_ranges import (
    INT32,
    INTEGERS,
    SIZE_MAX,
    Inexact,
    Origin,
    Range,
    constant,
    name,
    shape_of,
    type_range,
)
from corelane.processor.engines.openvino_walk import Rule, Walk, unknown

RULES: dict[str, Rule] = {}
_BOOLEANS = (0, 1)
_Special = Callable[[Walk, Any], "Range | None"]


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Registers a rule for these types of node."""

    def register(body: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, body))
        return body

    return register


def _union(operands: Sequence[Range], whole: bool) -> Range:
    made = Range(
        min(operandrand.low for operandrand in operands),
        max(operandrand.high for operandrand in operands),
        max(operandrand.origin for operandrand in operands),
        frozenset[int]().union(*(operandrand.sources for operandrand in operands)),
    )
    of_requests = [operandrand for operandrand in operands if operandrand.origin is not Origin.CONSTANT]
    kinds = {(operandrand.shifts, operandrand.wraps) for operandrand in of_requests} or {((0,), 0)}
    (shifts, wraps), *others = kinds
    if not whole or not all(operandrand.whole for operandrand in of_requests) or others or len(shifts) > 1:
        return made
    return replace(made, whole=True, shifts=shifts, wraps=wraps)


def _moved(walk: Walk, node: Any, data: Sequence[int], whole: bool = False) -> list[Range | None]:
    """Every output has elements of these operands, as they are."""
    operands = [walk.operand(node, index) for index in data if index < node.get_input_size()]
    known = [operandrand for operandrand in operands if operandrand is not None]
    made = _union(known, whole) if known and len(known) == len(operands) else None
    return [made] * node.get_output_size()


@rule("Reshape", "Squeeze", "Unsqueeze", "Identity", "Result")
def reshape(walk: Walk, node: Any) -> list[Range | None]:
    """The elements stay in their order, and so in their columns."""
    return [walk.operand(node, 0)] * node.get_output_size()


@rule("Transpose", "Tile", "Broadcast")
def rearrange(walk: Walk, node: Any) -> list[Range | None]:
    return _moved(walk, node, [0], whole=True)


@rule("Concat")
def concat(walk: Walk, node: Any) -> list[Range | None]:
    return _moved(walk, node, range(node.get_input_size()), whole=True)


@rule("Split", "VariadicSplit", "Slice", "Roll", "Reverse", "DepthToSpace")
def take(walk: Walk, node: Any) -> list[Range | None]:
    return _moved(walk, node, [0])


@rule("StridedSlice")
def strided_slice(walk: Walk, node: Any) -> list[Range | None]:
    """Of an axis that goes, the one place must be there: OpenVINO takes another, or what lies in memory."""
    shrinks, begins = node.get_attributes()["shrink_axis_mask"], constant(node.input_value(1))
    sizes = shape_of(node.input_value(0))
    for axis, shrinks_axis in enumerate(shrinks):
        if not shrinks_axis:
            continue
        # Where an ellipsis or a new axis stands before it, the axis is another.
        masks = (*node.get_attributes()["ellipsis_mask"], *node.get_attributes()["new_axis_mask"])
        if begins is None or sizes is None or any(masks):
            raise Inexact(f"{name(node)} takes a place of an axis of any length, which OpenVINO does not check")
        begin = int(begins.ravel()[axis])
        walk.check_place(node, Range(begin, begin, Origin.CONSTANT), sizes[axis], counts_back=True)
    return _moved(walk, node, [0])


@rule("Pad")
def pad(walk: Walk, node: Any) -> list[Range | None]:
    return _moved(walk, node, [0, 3])


@rule("Select")
def select(walk: Walk, node: Any) -> list[Range | None]:
    from_the_end = wrapped(walk, node)
    if from_the_end is not None:
        return [from_the_end]
    (made, *_) = _moved(walk, node, [1, 2])
    return [made if made is None else walk.bounded(node, made.low, made.high, [made])]


@rule("Convert", "ConvertLike")
def convert(walk: Walk, node: Any) -> list[Range | None]:
    value, to = walk.operand(node, 0), type_range(node.output(0))
    if to is None:
        is_whole = value is not None and value.within(-walk.whole_max, walk.whole_max)
        return [value if is_whole else None]
    if to == _BOOLEANS and (value is not None or type_range(node.input_value(0)) is not None):
        # Of the least int32 it makes False.
        return [Range(0, 1) if value is None else walk.bounded(node, 0, 1, [value])]
    source = node.input_value(0)
    if value is None and source.get_node().get_type_name() == "FakeQuantize" and to in (INTEGERS["i8"], INTEGERS["u8"]):
        return [Range(*to)]
    if value is None:
        raise Inexact(f"{name(node)} makes integers of floats that may be NaN, infinite or too large")
    if not value.within(*to) or (value.origin is Origin.CONSTANT and not value.within(*INT32)):
        raise Inexact(f"{name(node)} may lose bits", value.sources)
    return [value]


# Arithmetic


def _computed(ends: Callable[..., tuple[int, int]], *ops: str, special: _Special | None = None) -> None:
    """An op whose result lies between what `ends` makes of its operands' ranges, or is what is `special` about it."""

    def body(walk: Walk, node: Any) -> list[Range | None]:
        made = None if special is None else special(walk, node)
        if made is not None:
            return [made]
        operands = walk.operands(node)
        known = [operandrand for operandrand in operands if operandrand is not None]
        if len(known) < len(operands):
            return [None]
        return [walk.bounded(node, *ends(*known), known)]

    rule(*ops)(body)


def _products(left: Range, right: Range) -> tuple[int, int]:
    corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    return min(corners), max(corners)


def _magnitude(value: Range) -> tuple[int, int]:
    least = 0 if value.low <= 0 <= value.high else min(abs(value.low), abs(value.high))
    return least, max(abs(value.low), abs(value.high))


def _squared_difference(left: Range, right: Range) -> tuple[int, int]:
    return 0, max(abs(left.high - right.low), abs(right.high - left.low)) ** 2


_computed(lambda a, b: (a.low + b.low, a.high + b.high), "Add", special=shifted)
_computed(lambda a, b: (a.low - b.high, a.high - b.low), "Subtract", special=shifted)
_computed(_products, "Multiply")
_computed(_squared_difference, "SquaredDifference")
_computed(lambda a, b: (max(a.low, b.low), max(a.high, b.high)), "Maximum")
_computed(lambda a, b: (min(a.low, b.low), min(a.high, b.high)), "Minimum")
_computed(lambda a: (-a.high, -a.low), "Negative")
_computed(_magnitude, "Abs")
_computed(lambda a: (max(a.low, 0), max(a.high, 0)), "Relu")
_computed(lambda a: (max(min(a.low, 1), -1), max(min(a.high, 1), -1)), "Sign")
_computed(lambda a: (a.low, a.high), "Floor", "Ceiling", "Round")


@rule("Clamp")
def clamp(walk: Walk, node: Any) -> list[Range | None]:
    value, ends = walk.operand(node, 0), node.get_attributes()
    if value is None:
        return [None]
    if type_range(node.output(0)) is None and not (ends["min"].is_integer() and ends["max"].is_integer()):
        return [None]
    least, largest = (max(min(end, 2**63), -(2**63)) for end in (ends["min"], ends["max"]))
    low, high = math.ceil(least), math.floor(largest)
    return [walk.bounded(node, min(max(value.low, low), high), min(max(value.high, low), high), [value])]


@rule("Mod", "FloorMod", "Divide")
def divide(walk: Walk, node: Any) -> list[Range | None]:
    """In float32: a quotient is right if operands together have no more than its digits. Of sizes only may one be
    divided: what is below zero is rounded otherwise than TensorFlow does, and bytes to the nearest."""
    left, right = walk.operand(node, 0), walk.operand(node, 1)
    if left is None or right is None or type_range(node.output(0)) is None:
        return [None]
    kind = node.get_type_name()
    if right.low <= 0 <= right.high and right.origin is not Origin.SIZES:
        raise Inexact(f"{name(node)} may divide by zero", right.sources)
    if kind == "Divide":
        if max(left.origin, right.origin) is Origin.DATA or left.low < 0 or right.low < 0:
            raise Inexact(f"{name(node)} is not exact on integers")
        return [walk.bounded(node, 0, left.high, [left, right])]
    most = max(abs(right.low), abs(right.high))
    # The operands' sum is bounded, too.
    walk.bounded(node, 0, 0, [left, right, replace(left, low=left.low - most, high=left.high + most)])
    if kind == "FloorMod":
        low, high = (0 if right.low >= 0 else right.low + 1), (0 if right.high <= 0 else right.high - 1)
    else:
        low, high = (0 if left.low >= 0 else 1 - most), (0 if left.high <= 0 else most - 1)
    return [walk.bounded(node, low, high, [left, right])]


@rule("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")
def compare(walk: Walk, node: Any) -> list[Range | None]:
    operands = [operand for operand in walk.operands(node) if operand is not None]
    if type_range(node.input_value(0)) is None:
        return [Range(0, 1)]
    return [walk.bounded(node, 0, 1, operands)]


@rule("LogicalAnd", "LogicalOr", "LogicalXor", "LogicalNot", "ReduceLogicalAnd", "ReduceLogicalOr")
def logic(walk: Walk, node: Any) -> list[Range | None]:
    return [Range(0, 1)]


@rule("ReduceMax", "ReduceMin", "ReduceSum", "CumSum", "ReduceProd")
def reduce(walk: Walk, node: Any) -> list[Range | None]:
    value, kind = walk.operand(node, 0), node.get_type_name()
    if kind in ("ReduceMax", "ReduceMin") and _reduced_count(node) is None:
        walk.needs_elements(node)
    if value is None:
        return [None]
    if kind in ("ReduceMax", "ReduceMin"):
        return [walk.bounded(node, value.low, value.high, [value])]
    count = _reduced_count(node)
    if kind == "ReduceProd":
        if value.origin is Origin.DATA:
            _refuse_integers(node, value)
            return [None]
        return [walk.bounded(node, 0, max(value.high, 1) ** (count or 1), [value]) if value.low >= 0 else None]
    if count is None:
        count = SIZE_MAX
    return [walk.bounded(node, min(value.low, value.low * count), max(value.high, value.high * count), [value])]


def _reduced_count(node: Any) -> int | None:
    """How many elements are made one."""
    shape, axes = shape_of(node.input_value(0)), constant(node.input_value(1))
    if shape is None or axes is None:
        return None
    sizes = [shape[int(axis)] for axis in axes.ravel()]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _refuse_integers(node: Any, value: Range) -> None:
    """Of floats nothing need be known."""
    if type_range(node.output(0)) is not None:
        raise Inexact(f"{name(node)} computes with any number of integers", value.sources)


# What makes integers


@rule("ShapeOf")
def shape(walk: Walk, node: Any) -> list[Range | None]:
    sizes = shape_of(node.input_value(0))
    if sizes is None:
        return [Range(0, SIZE_MAX, Origin.SIZES)]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return [Range(min(known, default=0), max(known, default=0), Origin.CONSTANT)]
    return [Range(0, max(SIZE_MAX, *known, 0), Origin.SIZES)]


@rule("Range")
def count(walk: Walk, node: Any) -> list[Range | None]:
    operands = [operand for operand in walk.operands(node) if operand is not None]
    if len(operands) < node.get_input_size():
        return [None]
    start, stop, step = operands
    if step.low <= 0 <= step.high:
        raise Inexact(f"{name(node)} may count by zero", step.sources)
    return [walk.bounded(node, min(start.low, stop.low), max(start.high, stop.high), operands)]


@rule("TopK")
def top_k(walk: Walk, node: Any) -> list[Range | None]:
    sizes = shape_of(node.input_value(0))
    size = None if sizes is None else sizes[node.get_attributes()["axis"]]
    if size is None:
        walk.needs_elements(node)
    values = walk.operand(node, 0)
    made = None if values is None else walk.bounded(node, values.low, values.high, [values])
    return [made, Range(0, max((SIZE_MAX if size is None else size) - 1, 0))]


@rule("ReduceMean")
def mean(walk: Walk, node: Any) -> list[Range | None]:
    if _reduced_count(node) is None:
        walk.needs_elements(node)
    return unknown(walk, node)


@rule("NonZero")
def non_zero(walk: Walk, node: Any) -> list[Range | None]:
    return [Range(0, SIZE_MAX)]


@rule("Bucketize", "SearchSorted")
def bucketize(walk: Walk, node: Any) -> list[Range | None]:
    """As many results as bounds there are, and one more."""
    operands = [operand for operand in walk.operands(node) if operand is not None]
    if type_range(node.input_value(0)) is not None:
        walk.bounded(node, 0, 1, operands)
    sizes = shape_of(node.input_value(1 if node.get_type_name() == "Bucketize" else 0))
    last = None if not sizes else sizes[-1]
    return [Range(0, SIZE_MAX if last is None else last)]


@rule("OneHot")
def one_hot(walk: Walk, node: Any) -> list[Range | None]:
    """An index out of range is a row without a one, as in TensorFlow."""
    return _moved(walk, node, [2, 3])


# Lookups


def _check_index(walk: Walk, node: Any, index: int, sizes: Sequence[int | None], counts_back: bool) -> None:
    """Inexact unless the operand's integers are places in axes of these sizes."""
    value = walk.operand(node, index)
    assert value is not None, "indices are integers"
    for size in sizes or [None]:
        walk.check_place(node, value, size, counts_back and walk.counts_back)


def _axis_size(node: Any, data: int, axis: int | None) -> list[int | None]:
    shape = shape_of(node.input_value(data))
    if shape is None or axis is None or not -len(shape) <= axis < len(shape):
        return [None]
    return [shape[axis]]


def _constant_axis(node: Any, index: int) -> int | None:
    value = constant(node.input_value(index))
    return None if value is None else int(value.ravel()[0])


def _looked_up(walk: Walk, node: Any) -> list[Range | None]:
    """Rows of the first operand, chosen by the second."""
    rows, index = walk.operand(node, 0), walk.operand(node, 1)
    if rows is None or index is None:
        return [None]
    return [Range(rows.low, rows.high, max(rows.origin, index.origin), rows.sources)]


@rule("Gather")
def gather(walk: Walk, node: Any) -> list[Range | None]:
    counts_back = node.get_type_info().version_id == "opset8"
    if node.get_attributes().get("batch_dims", 0) != 0:
        raise Inexact(f"{name(node)} pairs rows, and OpenVINO does not check that there are as many of both")
    _check_index(walk, node, 1, _axis_size(node, 0, _constant_axis(node, 2)), counts_back)
    return _looked_up(walk, node)


@rule("GatherElements")
def gather_elements(walk: Walk, node: Any) -> list[Range | None]:
    data, indices = shape_of(node.input_value(0)), shape_of(node.input_value(1))
    if data is None or indices is None or len(data) != len(indices):
        raise Inexact(f"{name(node)} takes tensors of any rank, which OpenVINO does not compare")
    _check_index(walk, node, 1, _axis_size(node, 0, node.get_attributes()["axis"]), counts_back=True)
    return _looked_up(walk, node)


def _coordinate_sizes(node: Any) -> list[int | None]:
    """Of the axes that an operand of coordinates goes along."""
    data, indices = shape_of(node.input_value(0)), shape_of(node.input_value(1))
    if data is None or not indices or indices[-1] is None:
        return [None]
    return data[: indices[-1]]


@rule("GatherND")
def gather_nd(walk: Walk, node: Any) -> list[Range | None]:
    if node.get_attributes()["batch_dims"] != 0:
        raise Inexact(f"{name(node)} pairs rows, and OpenVINO does not check that there are as many of both")
    _check_index(walk, node, 1, _coordinate_sizes(node), counts_back=True)
    return _looked_up(walk, node)


@rule("ScatterUpdate", "ScatterElementsUpdate", "ScatterNDUpdate")
def scatter(walk: Walk, node: Any) -> list[Range | None]:
    if node.get_type_name() == "ScatterNDUpdate":
        sizes = _coordinate_sizes(node)
    else:
        sizes = _axis_size(node, 0, _constant_axis(node, 3))
    _check_index(walk, node, 1, sizes, counts_back=False)
    indices, updates = (shape_of(node.input_value(number)) for number in (1, 2))
    if node.get_type_name() == "ScatterElementsUpdate" and (indices is None or indices != updates):
        raise Inexact(f"{name(node)} may take other numbers of indices and updates, which OpenVINO does not compare")
    if node.get_attributes().get("reduction", "none") != "none" and type_range(node.output(0)) is not None:
        raise Inexact(f"{name(node)} is not known to be exact on integers")
    return _moved(walk, node, [0, 2])


@rule("EmbeddingBagOffsets", "EmbeddingBagOffsetsSum", "EmbeddingBagPacked", "EmbeddingBagPackedSum")
@rule("EmbeddingSegmentsSum")
def bags(walk: Walk, node: Any) -> list[Range | None]:
    _check_index(walk, node, 1, _axis_size(node, 0, 0), counts_back=False)
    if "Packed" in node.get_type_name():
        return [None]
    for index in range(2, min(node.get_input_size(), 5)):
        value = walk.operand(node, index)
        is_bound = type_range(node.input_value(index)) is not None
        if is_bound and (value is None or value.origin is Origin.DATA):
            raise Inexact(f"{name(node)} takes its bags' bounds from a request, and OpenVINO does not check them")
    return [None]


# Graphs in graphs


@rule("If", "Loop", "TensorIterator")
def bodies(walk: Walk, node: Any) -> list[Range | None]:
    """Whatever they are given: any integer of 32 bits."""
    graphs = [node.get_function(0), node.get_function(1)] if node.get_type_name() == "If" else [node.get_function()]
    level = inside_level(node, walk.floats.of_operands(node))
    for graph in graphs:
        body = Walk(
            model=graph,
            given=[_any(port) for port in graph.inputs],
            rules=walk.rules,
            counts_back=walk.counts_back,
            has_elements=False,
            whole_max=walk.whole_max,
            floats=Floats(level),
        )
        body.run()
    return [_any(output) for output in node.outputs()]


def _any(port: Any) -> Range | None:
    ends = type_range(port)
    return None if ends is None else Range(max(ends[0], INT32[0]), min(ends[1], INT32[1]))
