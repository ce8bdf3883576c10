"""Quantiles of the latency histograms that channels keep (`processor/native/histogram.h`)."""

from collections.abc import Sequence

from corelane.processor._native import histogram_bounds_us

# Upper bounds in µs, each 1.15 times the last: 1 µs to 100 s, so that a quantile is within 15 %.
BOUNDS_US = histogram_bounds_us()


def quantile_us(counts: Sequence[int], fraction: float) -> float | None:
    """The bound below which `fraction` of the durations lie; None of no durations."""
    total = sum(counts)
    if total == 0:
        return None
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= fraction * total:
            return BOUNDS_US[min(index, len(BOUNDS_US) - 1)]
    raise AssertionError("a fraction is at most 1")
