"""Where the last bit of a float decides: OpenVINO's floats are right to within rounding, and no closer.

It divides by a constant through its reciprocal, takes a remainder as x - trunc(x / y) * y, and fuses a product and a
sum. So 41 / 41 is less than one, and the floor of it 0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from corelane.processor.engines.openvino_ranges import Inexact, Range, constant, name, type_range


class Level(IntEnum):
    """How a tensor's floats came about."""

    CONSTANT = 0
    GIVEN = 1  # the inputs' and constants' elements as they are, and whole numbers that are proved to be right
    COMPUTED = 2
    QUOTIENT = 3  # computed from a quotient


_COMPARISONS = ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")
_STEPS = (*_COMPARISONS, "Sign", "Bucketize", "SearchSorted")
_ROUNDINGS = ("Floor", "Ceiling", "Round", "Convert", "ConvertLike")
_BODIES = ("If", "Loop", "TensorIterator")
# Their sums make of a quotient no more than of any other float.
_SUMS = ("MatMul", "Convolution", "GroupConvolution", "ReduceSum", "ReduceMean", "ReduceL2", "ReduceLogSum")
_CHOICES = (
    *("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Tile", "Broadcast", "Identity", "Result", "Concat", "Split"),
    *("VariadicSplit", "Slice", "StridedSlice", "Roll", "Reverse", "ReverseSequence", "DepthToSpace", "SpaceToDepth"),
    *("Pad", "Select", "Convert", "ConvertLike", "Gather", "GatherElements", "GatherND", "ScatterUpdate"),
    *("ScatterElementsUpdate", "ScatterNDUpdate", "TopK", "ReduceMax", "ReduceMin", "Maximum", "Minimum", "Clamp"),
    *("Relu", "Abs", "Negative", "Floor", "Ceiling", "Round", "Sign", "OneHot", "Eye"),
)


class Floats:
    """The levels of a graph's ports, as its ops are seen in their order. `inputs` is the level of its inputs."""

    def __init__(self, inputs: Level = Level.GIVEN) -> None:
        self.inputs = inputs
        self._levels: dict[tuple[str, int], Level] = {}

    def see(self, node: Any, operands: list[Range | None], results: list[Range | None]) -> None:
        """Inexact if the op makes steps where its operands are not exact. The ranges are those of whole numbers."""
        kind, level = node.get_type_name(), self.of_operands(node)
        if level is not Level.CONSTANT:
            self._check(node, kind, operands)
        made = self._made(node, kind, level)
        for index, output in enumerate(node.outputs()):
            is_whole = type_range(output) is not None or (index < len(results) and results[index] is not None)
            self._levels[(node.get_name(), index)] = min(made, Level.GIVEN) if is_whole else made

    def of_operands(self, node: Any) -> Level:
        return max((self._level(port) for port in node.input_values()), default=Level.CONSTANT)

    def _level(self, port: Any) -> Level:
        return self._levels[(port.get_node().get_name(), port.get_index())]

    def _check(self, node: Any, kind: str, operands: list[Range | None]) -> None:
        if kind in ("Mod", "FloorMod") and type_range(node.output(0)) is None:
            raise Inexact(f"{name(node)} is not exact on floats")
        if kind in _STEPS and self.of_operands(node) is Level.QUOTIENT:
            raise Inexact(f"{name(node)} looks at a quotient, whose last bit OpenVINO may have otherwise")
        if kind in ("Convert", "ConvertLike") and type_range(node.output(0)) is None:
            return
        if kind in _ROUNDINGS and operands[0] is None and self._level(node.input_value(0)) >= Level.COMPUTED:
            raise Inexact(f"{name(node)} rounds what was computed, whose last bit OpenVINO may have otherwise")

    def _made(self, node: Any, kind: str, level: Level) -> Level:
        if kind == "Constant":
            return Level.CONSTANT
        if kind == "Parameter":
            return self.inputs
        if kind in _BODIES:
            return max(inside_level(node, level), Level.COMPUTED)
        if kind in _CHOICES or level is Level.CONSTANT:
            return level
        if kind == "Divide":
            return level if _is_power_of_two(node.input_value(1)) else Level.QUOTIENT
        return Level.COMPUTED if kind in _SUMS else max(level, Level.COMPUTED)


def inside_level(node: Any, given: Level) -> Level:
    """The level of what the bodies of an op are given, and of what one run of a loop hands to the next."""
    if node.get_type_name() == "If":
        bodies, least = [node.get_function(0), node.get_function(1)], given
    else:
        bodies, least = [node.get_function()], max(given, Level.COMPUTED)
    kinds = {inner.get_type_name() for body in bodies for inner in body.get_ops()}
    return Level.QUOTIENT if kinds & {"Divide", *_BODIES} else least


def _is_power_of_two(port: Any) -> bool:
    value = constant(port)
    if value is None or value.dtype.kind != "f" or not np.isfinite(value).all():
        return False
    return bool((np.abs(np.frexp(value.astype(np.float64))[0]) == 0.5).all())
