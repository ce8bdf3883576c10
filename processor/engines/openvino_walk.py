"""The proof that OpenVINO's CPU plugin computes a model's integers as its types say.

The plugin holds 64-bit integers in 32 bits and float64 in float32, computes chains of integer ops in float32 where one
of them knows nothing else, and reads zeros, other rows or other memory where a lookup's index is out of range. It says
nothing. So every integer of a graph is bounded by an interval, op by op; what the plugin has no room for is Inexact.
Floats that are whole numbers, because they were integers, are followed, too, since they may become indices again.

`openvino_rules.RULES` say what each op does; ops that they do not name may have integers only as axes and sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corelane.processor.engines.openvino_floats import Floats
from corelane.processor.engines.openvino_ranges import (
    EXACT,
    INT32,
    INTEGERS,
    SIZE_MAX,
    Inexact,
    Origin,
    Range,
    name,
    type_range,
)

_WHOLE_CONSTANT_MAX = 4096
_EMPTYING = ("Slice", "StridedSlice", "VariadicSplit", "NonZero", "Unique", "Range", "NonMaxSuppression")
# What else takes or makes strings crashes OpenVINO 2026.4, which copies them as bytes, or is left empty.
_OF_STRINGS = ("Result", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Gather", "ShapeOf")
_STATEFUL = ("ReadValue", "Assign")

# What a rule makes of a node: the range of each output, None where there is none to know.
Rule = Callable[["Walk", Any], "list[Range | None]"]


@dataclass(kw_only=True)
class Walk:
    """One look at every op of `model`, whose inputs are `given`, by the `rules` for types of node. `counts_back`: a
    negative index counts from the end, as in ONNX. `has_elements`: no input without elements is given where `needing`
    names an op. `whole_max`: floats have every integer up to it in the precision that the model runs in."""

    model: Any
    given: Sequence[Range | None]
    rules: Mapping[str, Rule]
    counts_back: bool = True
    has_elements: bool = True
    needing: str = ""
    whole_max: int = EXACT
    floats: Floats = field(default_factory=Floats)  # of inputs as they were sent

    def __post_init__(self) -> None:
        self._ranges: dict[tuple[str, int], Range | None] = {}

    def run(self) -> None:
        """Inexact at the first op that is not proved to be exact."""
        emptying = ""
        numbers = {node.get_name(): number for number, node in enumerate(self.model.get_parameters())}
        for node in self.model.get_ordered_ops():
            kind = node.get_type_name()
            if kind == "Parameter":
                made = [self.given[numbers[node.get_name()]]]
            elif kind == "Constant":
                made = [_constant_range(node)]
            else:
                self._check_operands(node)
                made = self.rules.get(kind, unknown)(self, node)
            self._check_results(node, made)
            self.floats.see(node, self.operands(node), made)
            if kind in _EMPTYING and node.output(0).get_partial_shape().is_dynamic:
                emptying = emptying or name(node)
            for index, value in enumerate(made):
                self._ranges[(node.get_name(), index)] = value
        if self.needing and emptying:
            raise Inexact(f"{self.needing} takes an element of what {emptying} may leave empty")

    def operand(self, node: Any, index: int) -> Range | None:
        """None for floats that are not known to be whole, for strings, and for an input that is not there."""
        if index >= node.get_input_size():
            return None
        source = node.input_value(index)
        return self._ranges.get((source.get_node().get_name(), source.get_index()))

    def operands(self, node: Any) -> list[Range | None]:
        return [self.operand(node, index) for index in range(node.get_input_size())]

    def bounded(self, node: Any, low: int, high: int, operands: Sequence[Range]) -> Range | None:
        """The range of an op that computes with `operands`, maybe in float32."""
        origin = max((operand.origin for operand in operands), default=Origin.CONSTANT)
        sources = frozenset[int]().union(*(operand.sources for operand in operands))
        ends = [low, high, *(end for operand in operands for end in (operand.low, operand.high))]
        if origin is Origin.SIZES:
            # More than that is no size of a tensor that there could be.
            return Range(max(low, -SIZE_MAX), min(max(high, -SIZE_MAX), SIZE_MAX), origin, sources)
        room = type_range(node.output(0))
        if room is None:
            return Range(low, high, origin, sources) if max(map(abs, ends)) <= self.whole_max else None
        if max(map(abs, ends)) > EXACT:
            raise Inexact(f"{name(node)} is exact up to {EXACT} only", sources)
        if not (room[0] <= low and high <= room[1]):
            raise Inexact(f"{name(node)} may exceed its type", sources)
        return Range(low, high, origin, sources)

    def check_place(self, node: Any, value: Range, size: int | None, counts_back: bool) -> None:
        """Inexact unless a range's integers are places in an axis of that size, None for any."""
        if size is None:
            # The first and the last place are there if any is.
            if not value.within(-1 if counts_back else 0, 0):
                raise Inexact(f"{name(node)} looks into an axis of any length, and OpenVINO does not see where it ends")
            self.needs_elements(node)
            return
        low = -size if counts_back else 0
        if value.within(low, size - 1):
            return
        if value.sources and value.whole and size:
            if value.wraps:
                low = -value.wraps if value.wraps <= size else 0
            allowed = [(low - shift, size - 1 - shift) for shift in value.shifts]
            raise Inexact(f"{name(node)} looks it up among {size}", value.sources, allowed)
        raise Inexact(f"{name(node)} looks up, among {size}, what may be any of [{value.low}, {value.high}]")

    def needs_elements(self, node: Any) -> None:
        """Of an axis of any length, an op takes what is not there if the axis is empty."""
        if not self.has_elements:
            raise Inexact(f"{name(node)} takes an element of an axis that may be empty, and OpenVINO makes one up")
        self.needing = self.needing or name(node)

    def _check_operands(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind in _STATEFUL:
            raise Inexact(f"{name(node)} keeps one request's values for the next")
        if any(port.get_element_type().get_type_name() == "string" for port in (*node.input_values(), *node.outputs())):
            as_sent = kind == "Result" and node.input_value(0).get_node().get_type_name() == "Parameter"
            if as_sent or kind not in _OF_STRINGS:
                raise Inexact(f"{name(node)} is of strings, which OpenVINO cannot copy there")
        if kind == "Result" and _is_unconverted(node):
            unseen = "an input through a Convert to its own type"
            raise Inexact(f"{name(node)} is {unseen}, for which OpenVINO writes memory that is gone")
        for index, value in enumerate(self.operands(node)):
            source = node.input_value(index)
            if source.get_element_type().get_type_name() == "f64" and kind not in ("Convert", "ConvertLike"):
                raise Inexact(f"{name(node)} takes float64, which OpenVINO computes in 32 bits")
            if value is None or value.origin is Origin.CONSTANT or value.within(*INT32):
                continue
            # These two see what was sent, before it is put into 32 bits.
            as_sent = source.get_node().get_type_name() == "Parameter"
            if as_sent and (kind == "Result" or (kind == "Convert" and type_range(node.output(0)) is None)):
                continue
            raise Inexact("OpenVINO computes in 32 bits", value.sources, [INT32])

    def _check_results(self, node: Any, made: Sequence[Range | None]) -> None:
        kind = node.get_type_name()
        for index, value in enumerate(made):
            output = node.output(index)
            if output.get_element_type().get_type_name() == "f64" and kind != "Constant":
                raise Inexact(f"{name(node)} makes float64, which OpenVINO computes in 32 bits")
            if type_range(output) is None or kind in ("Parameter", "Constant", "Result"):
                continue
            if value is None:
                raise Inexact(f"{name(node)} makes integers that nothing bounds")
            if not value.within(*INT32):
                raise Inexact(f"{name(node)} makes integers of more than 32 bits", value.sources)


def unknown(walk: Walk, node: Any) -> list[Range | None]:
    """An op without a rule: only floats and booleans are left to it, and integers that are axes or sizes."""
    for index, value in enumerate(walk.operands(node)):
        ends = type_range(node.input_value(index))
        if ends not in (None, INTEGERS["boolean"]) and value is not None and value.origin is Origin.DATA:
            raise Inexact(f"{name(node)} is not known to be exact on integers")
    booleans = Range(0, 1)
    return [booleans if type_range(output) == INTEGERS["boolean"] else None for output in node.outputs()]


def _is_unconverted(result: Any) -> bool:
    """Whether an output is an input as it is, and OpenVINO does not see it: its plugin drops a Convert to the same
    type, and then writes the input's elements to where those of an earlier request were (2026.4, by valgrind)."""
    port, is_converted = result.input_value(0), False
    while port.get_node().get_type_name() in ("Convert", "Reshape", "Squeeze", "Unsqueeze", "Identity"):
        before = port.get_node().input_value(0)
        if port.get_node().get_type_name() == "Convert":
            if before.get_element_type() != port.get_element_type():
                return False
            is_converted = True
        port = before
    return is_converted and port.get_node().get_type_name() == "Parameter"


def _constant_range(node: Any) -> Range | None:
    ends, kind = type_range(node.output(0)), node.get_element_type()
    if ends is not None and kind.bitwidth < 8:
        return Range(*ends, Origin.CONSTANT)  # packed
    if ends is None and (kind.get_type_name() not in ("f16", "f32", "f64") or _size(node) > _WHOLE_CONSTANT_MAX):
        return None
    array = np.asarray(node.data)
    if array.size == 0:
        return Range(0, 0, Origin.CONSTANT)
    if ends is None:
        array = array.astype(np.float64)
    if ends is None and not (np.abs(array) <= EXACT).all():  # nor NaN
        return None
    if ends is None and (array != np.floor(array)).any():
        return None
    return Range(int(array.min()), int(array.max()), Origin.CONSTANT)


def _size(node: Any) -> int:
    return math.prod(node.get_output_shape(0))
