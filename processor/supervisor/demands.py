"""What live traffic says of a worker: how many requests come, and how long one takes."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corelane.processor.channel.histogram import BOUNDS_US, quantile_us
from corelane.processor.manifest import ModelSettings
from corelane.scheduler import Cost, Demand, Profile, Service, service_of

_WINDOW_S = 30.0
_RATE_TIME_S = 10.0
_SAMPLES_MIN = 200
# Of a version that could not be profiled, until its traffic tells.
_ASSUMED = Cost(fixed_ms=1.0, per_row_ms=0.0, cv=0.5)


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    arrived: int
    run_us: Sequence[int]
    total_us: Sequence[int]


def demand_of(
    model: ModelSettings, version: int, profile: Profile, rate_per_s: float, observed: Service | None = None
) -> Demand:
    """What a version asks of the host, as the manifest has it."""
    settings = model.settings_of(version)
    return Demand(
        model=model.name,
        version=version,
        role=settings.role,
        rate_per_s=rate_per_s,
        cost=profile.cost or _ASSUMED,
        observed=observed,
        slo_p99_ms=model.slo_p99_ms,
        sessions=model.sessions,
        threads=model.threads_per_session,
        weight=model.pool_weight,
    )


class DemandMeter:
    """Of one worker's channel. Rates follow a change within about ten seconds; service times are of the last thirty.

    Thread safety: none."""

    def __init__(self) -> None:
        self._readings: deque[_Reading] = deque()

    def read(self, statistics: Mapping[str, Any], now_s: float) -> None:
        """Takes a channel's statistics in."""
        arrived = statistics["accepted"] + statistics["rejected"]
        self._readings.append(_Reading(now_s, arrived, statistics["run_us"], statistics["total_us"]))
        while len(self._readings) > 2 and now_s - self._readings[1].at_s >= _WINDOW_S:
            self._readings.popleft()

    @property
    def rate_per_s(self) -> float:
        """Requests that came, those refused for want of room included."""
        if len(self._readings) < 2:
            return 0.0
        last = self._readings[-1]
        first = next((one for one in self._readings if last.at_s - one.at_s <= _RATE_TIME_S), self._readings[-2])
        first = first if first is not last else self._readings[-2]
        seconds = last.at_s - first.at_s
        return max(0, last.arrived - first.arrived) / seconds if seconds > 0 else 0.0

    @property
    def service(self) -> Service | None:
        """How long requests ran; None before there are enough."""
        if len(self._readings) < 2:
            return None
        counts = _since(self._readings[0].run_us, self._readings[-1].run_us)
        if sum(counts) < _SAMPLES_MIN:
            return None
        return service_of([(count, _middle_ms(index)) for index, count in enumerate(counts) if count > 0])

    def latency_ms(self, fraction: float) -> float | None:
        """A quantile of the time from arrival to answer; None without an answer."""
        if len(self._readings) < 2:
            return None
        found = quantile_us(_since(self._readings[0].total_us, self._readings[-1].total_us), fraction)
        return None if found is None else found / 1000


def _since(before: Sequence[int], after: Sequence[int]) -> list[int]:
    return [new - old for old, new in zip(before, after, strict=True)]


def _middle_ms(index: int) -> float:
    """The geometric middle of a histogram's bucket."""
    upper = BOUNDS_US[min(index, len(BOUNDS_US) - 1)]
    lower = BOUNDS_US[index - 1] if index > 0 else upper / 1.15
    return float((lower * upper) ** 0.5) / 1000
