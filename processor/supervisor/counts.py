"""What the channels of a version have counted, over all its workers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from processor.histogram import BOUNDS_US

# (counts by `processor.histogram.BOUNDS_US`, sum in ns)
Histogram = tuple[list[int], int]

# Of the accepted requests each is, in the end, one of these; `interrupted`: its worker died.
ENDS = ("answered", "failed", "expired", "cancelled", "interrupted")
_COUNTERS = ("accepted", *ENDS[:-1], "rejected", "through_python", "runs", "decode_ns", "engine_ns", "encode_ns")
_TIMES = ("queue", "run", "total", "gate")


def no_durations() -> Histogram:
    return [0] * (len(BOUNDS_US) + 1), 0


def sum_of(one: Histogram, other: Histogram) -> Histogram:
    return [left + right for left, right in zip(one[0], other[0], strict=True)], one[1] + other[1]


def merge(into: dict[Any, Histogram], key: Any, histogram: Histogram) -> None:
    into[key] = sum_of(into[key], histogram) if key in into else histogram


@dataclass(slots=True)
class Counts:
    """`numbers` are those of `SharedChannel.statistics` that only grow, with `interrupted`; the rest is as in
    `SharedChannel.details`. CPU time in seconds.

    Invariant: no number ever falls, whatever becomes of the workers."""

    numbers: Counter[str] = field(default_factory=Counter)
    codes: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # method, entry, gRPC code
    latency: dict[tuple[int, int], Histogram] = field(default_factory=dict)  # method, entry
    assigned: Counter[int] = field(default_factory=Counter)
    signatures: Counter[tuple[str, str]] = field(default_factory=Counter)  # name, "answered" or "failed"
    signature_runs: dict[str, Histogram] = field(default_factory=dict)
    times: dict[str, Histogram] = field(default_factory=lambda: {name: no_durations() for name in _TIMES})
    cpu_s: float = 0.0

    def add(self, statistics: Mapping[str, Any], details: Mapping[str, Any], *, ended: bool) -> None:
        """Adds a worker's. Of one that has `ended`, requests without an end were interrupted."""
        for name in _COUNTERS:
            self.numbers[name] += statistics[name]
        if ended:
            self.numbers["interrupted"] += statistics["accepted"] - sum(statistics[name] for name in ENDS[:-1])
        for method, entry, code, count in details["codes"]:
            self.codes[method, entry, code] += count
        for method, entry, histogram in details["latency"]:
            merge(self.latency, (method, entry), histogram)
        for assignment, count in enumerate(details["assigned"]):
            self.assigned[assignment] += count
        for name, answered, failed, histogram in details["signatures"]:
            self.signatures[name, "answered"] += answered
            self.signatures[name, "failed"] += failed
            merge(self.signature_runs, name, histogram)
        for name in _TIMES:
            merge(self.times, name, details[name])

    def copy(self) -> "Counts":
        return Counts(
            numbers=self.numbers.copy(),
            codes=self.codes.copy(),
            latency=dict(self.latency),
            assigned=self.assigned.copy(),
            signatures=self.signatures.copy(),
            signature_runs=dict(self.signature_runs),
            times=dict(self.times),
            cpu_s=self.cpu_s,
        )
