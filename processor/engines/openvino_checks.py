"""What a model's integer inputs must lie between for OpenVINO to be right about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corelane.processor.engines.openvino_ranges import EXACT, Inexact, Range, input_ranges, narrowed, type_range
from corelane.processor.engines.openvino_rules import RULES
from corelane.processor.engines.openvino_walk import Walk
from corelane.processor.errors import LoadError

_LEAST = 2**16  # a model that is exact up to less than that is none to serve
_WHOLE_MAX = {"bf16": 2**8}  # of floats in that precision

# (input, lows, highs, why it must lie between these): one of each, or one for each column
Check = tuple[int, list[int], list[int], str]


def checks_of(model: Any, precision: str) -> tuple[list[Check], str]:
    """The checks that a model's requests must pass, and the op that needs every input to have elements, if one does.
    LoadError if it is not exact whatever they are."""
    ranges = input_ranges(model)
    reasons: dict[int, str] = {}
    while True:
        try:
            walk = Walk(model=model, given=ranges, rules=RULES, whole_max=_WHOLE_MAX.get(precision, EXACT))
            walk.run()
        except Inexact as error:
            ranges = _narrowed(ranges, error, reasons)
        else:
            return _checks(model, ranges, reasons), walk.needing


def _narrowed(ranges: Sequence[Range | None], error: Inexact, reasons: dict[int, str]) -> list[Range | None]:
    """The ranges, narrower for the sources of an inexact op. LoadError if that does not help."""
    narrower = list(ranges)
    for number in error.sources:
        value = ranges[number]
        assert value is not None, "sources are integers"
        most = max(-value.low, value.high)
        high = EXACT if most > EXACT else most // 2
        less = narrowed(value, error.allowed or [(-high, high)])
        if less != value and (error.allowed or high >= _LEAST):
            narrower[number] = less
            reasons[number] = error.reason
    if narrower == list(ranges):
        raise LoadError(f"engine openvino would not be exact: {error.reason}; use engine: onnxruntime (with ONNX)")
    return narrower


def _checks(model: Any, ranges: Sequence[Range | None], reasons: dict[int, str]) -> list[Check]:
    checks = []
    for number, (port, value) in enumerate(zip(model.inputs, ranges, strict=True)):
        ends = type_range(port)
        if value is None or ends is None or (not value.columns and (value.low, value.high) == ends):
            continue
        columns = value.columns or ((value.low, value.high),)
        lows, highs = [low for low, _ in columns], [high for _, high in columns]
        checks.append((number, lows, highs, f"{reasons[number]} (engine openvino)"))
    return checks
