"""What became of each version's calls in the last minute: how many failed and how, and where the others' time went."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from corelane.processor.supervisor.views.counts import Counts, Histogram
from corelane.processor.supervisor.views.meters import VersionKey
from corelane.processor.supervisor.views.slowness import Parts, explanation
from corelane.processor.wire.status import CODE_NAMES

_WINDOW_S = 60.0
_RATE_S = 10.0
_OK = 0


@dataclass(frozen=True, slots=True)
class _Time:
    """So many durations, and their sum."""

    count: int
    sum_ns: int

    @classmethod
    def of(cls, histograms: Iterable[Histogram]) -> "_Time":
        known = list(histograms)
        return cls(sum(sum(counts) for counts, _ in known), sum(sum_ns for _, sum_ns in known))

    def mean_ms_since(self, before: "_Time") -> float | None:
        count = self.count - before.count
        return (self.sum_ns - before.sum_ns) / count / 1e6 if count > 0 else None


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    codes: Counter[int]
    rejected: int
    cpu_s: float
    times: Mapping[str, _Time]

    @classmethod
    def of(cls, counts: Counts, now_s: float) -> "_Reading":
        codes: Counter[int] = Counter()
        for (_, _, code), count in counts.codes.items():
            codes[code] += count
        times = {name: _Time.of([histogram]) for name, histogram in counts.times.items()}
        times["latency"] = _Time.of(counts.latency.values())
        return cls(now_s, codes, counts.numbers["rejected"], counts.cpu_s, times)

    def zero(self, at_s: float) -> "_Reading":
        """Of the same version before its first call; its load has used its CPU time by then."""
        return _Reading(at_s, Counter(), 0, self.cpu_s, dict.fromkeys(self.times, _Time(0, 0)))

    def parts_since(self, before: "_Reading") -> Parts | None:
        means = {name: time.mean_ms_since(before.times[name]) for name, time in self.times.items()}
        latency_ms, total_ms, run_ms = means["latency"], means["total"], means["run"]
        if latency_ms is None or total_ms is None or run_ms is None:
            return None
        # While a session waits at the gate, the request that it will take is still in the queue.
        waited_ms = max(0.0, total_ms - run_ms)
        pool_ms = min(waited_ms, means["gate"] or 0.0)
        return Parts(
            gateway_ms=max(0.0, latency_ms - total_ms), queue_ms=waited_ms - pool_ms, pool_ms=pool_ms, run_ms=run_ms
        )


class LastMinute:
    """Belongs to the event loop's thread. What is kept is bounded by the versions that `read` is given."""

    def __init__(self) -> None:
        self._readings: dict[VersionKey, deque[_Reading]] = {}
        self._read_s: float | None = None

    def read(self, counts: Mapping[VersionKey, Counts], now_s: float) -> None:
        """Takes the counts in; of a version that is not among them nothing is known any more."""
        kept = {}
        for key, of_version in counts.items():
            reading = _Reading.of(of_version, now_s)
            readings = self._readings.get(key, deque())
            # New, or another than before, which was unloaded and forgotten: at the last look it had no calls.
            if not readings or reading.codes.total() < readings[-1].codes.total():
                readings = deque([] if self._read_s is None else [reading.zero(self._read_s)])
            readings.append(reading)
            while len(readings) > 2 and now_s - readings[1].at_s >= _WINDOW_S:
                readings.popleft()
            kept[key] = readings
        self._readings, self._read_s = kept, now_s

    def failed_per_s(self, key: VersionKey) -> float:
        """Calls without an answer, over the last ten seconds."""
        first, last = self._ends(key, _RATE_S)
        failed = (last.codes.total() - last.codes[_OK]) - (first.codes.total() - first.codes[_OK])
        return max(0, failed) / (last.at_s - first.at_s) if last.at_s > first.at_s else 0.0

    def cores(self, key: VersionKey) -> float:
        """That the version's workers kept busy, over the last ten seconds."""
        first, last = self._ends(key, _RATE_S)
        return max(0.0, last.cpu_s - first.cpu_s) / (last.at_s - first.at_s) if last.at_s > first.at_s else 0.0

    def to_json(self, key: VersionKey, *, shares: bool) -> dict[str, Any] | None:
        """`codes`: calls by how they ended; `refused`: for want of room in the queue, which are among them; `parts_ms`:
        where an answered call's mean time went; `why`: that, in words. None before two looks. `shares`: it runs on the
        pool's cores."""
        if len(self._readings.get(key, ())) < 2:
            return None
        first, last = self._ends(key, _WINDOW_S)
        codes = {CODE_NAMES[code]: count for code, count in sorted((last.codes - first.codes).items())}
        calls, answered = sum(codes.values()), codes.get(CODE_NAMES[_OK], 0)
        refused, parts = last.rejected - first.rejected, last.parts_since(first)
        return {
            "seconds": last.at_s - first.at_s,
            "calls": calls,
            "failed": calls - answered,
            "codes": codes,
            "refused": refused,
            "mean_ms": parts.sum_ms if parts else None,
            "parts_ms": parts.to_json() if parts else None,
            "why": explanation(parts, calls, refused, shares=shares),
        }

    def _ends(self, key: VersionKey, seconds: float) -> tuple[_Reading, _Reading]:
        """The newest reading, and the oldest that is no older than that, or the one before."""
        readings = self._readings.get(key) or [_Reading.of(Counts(), 0.0)]
        last = readings[-1]
        young = [reading for reading in readings if last.at_s - reading.at_s <= seconds]
        return (young[0] if len(young) > 1 else readings[max(0, len(readings) - 2)]), last
