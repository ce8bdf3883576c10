"""Latency histograms that add up across sessions, workers and time."""

from bisect import bisect_left
from collections.abc import Sequence

# Upper bounds in µs, each 1.15 times the last: 1 µs to 100 s, so that a quantile is within 15 %.
BOUNDS_US = [1.0]
while BOUNDS_US[-1] < 100e6:
    BOUNDS_US.append(BOUNDS_US[-1] * 1.15)


class Histogram:
    """Counts of durations. Thread safety: none; the owner locks."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_US) + 1)

    def add(self, value_us: float) -> None:
        self._counts[bisect_left(BOUNDS_US, value_us)] += 1

    def counts(self) -> list[int]:
        """A count for each bound, and one for what is above the last."""
        return list(self._counts)


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
