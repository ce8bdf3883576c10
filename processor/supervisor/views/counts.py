"""What the channels of a version have counted, over all its workers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.channel.methods import Method

# (counts by `corelane.processor.channel.histogram.BOUNDS_US`, sum in ns)
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
    executions: int = 0  # of the engine, with success
    cpu_s: float = 0.0

    def add(
        self, statistics: Mapping[str, Any], details: Mapping[str, Any], *, ended: bool, batches: bool = False
    ) -> None:
        """Adds a worker's. Of one that has `ended`, requests without an end were interrupted. `batches`: one run may be
        of several requests."""
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
        self.executions += _executions(statistics, details, batches)

    def copy(self) -> "Counts":
        return Counts(
            numbers=self.numbers.copy(),
            codes=self.codes.copy(),
            latency=dict(self.latency),
            assigned=self.assigned.copy(),
            signatures=self.signatures.copy(),
            signature_runs=dict(self.signature_runs),
            times=dict(self.times),
            executions=self.executions,
            cpu_s=self.cpu_s,
        )


def _executions(statistics: Mapping[str, Any], details: Mapping[str, Any], batches: bool) -> int:
    """How often a worker's engine ran with success. A request is a run, unless one run may be of several: then the
    native path counts its runs, and under Python's lock it is the requests that were no questions and did not fail."""
    answered = sum(answered for _, answered, _, _ in details["signatures"])
    if not batches:
        return int(answered)
    questions = sum(count for method, _, _, count in details["codes"] if method == Method.METADATA)
    through_python = max(0, statistics["through_python"] - questions - statistics["failed"])
    return int(min(answered, statistics["runs"] + through_python))
