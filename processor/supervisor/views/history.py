"""Rates, latencies, failures and core use of the last day, by version: the older, the coarser."""

import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from math import isnan, nan
from typing import Any

# What may be asked for, in seconds.
RANGES_S = {"5m": 300, "1h": 3600, "6h": 6 * 3600, "1d": 24 * 3600}
# Seconds between points, and how many there are: ten minutes, two hours, a day.
_RESOLUTIONS = ((2, 300), (30, 240), (300, 288))
# Of versions that no longer serve: the latest. One takes about 40 KiB, as one that serves does.
_GONE_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Of a version now. Latencies are the worker's, None without an answer; `cores`: that its workers keep busy."""

    rate_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    failed_per_s: float
    cores: float


SERIES = tuple(field.name for field in fields(Sample))
_PEAKS = frozenset({SERIES.index("p99_ms")})  # a coarse point has the largest of these, of the others the mean
_STRIDE = 1 + len(SERIES)


class History:
    """Belongs to the event loop's thread."""

    def __init__(
        self, monotonic_s: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = time.time
    ) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._rings: dict[str, list[_Ring]] = {}  # by version, the one that was noted last at the end

    def note(self, samples: Mapping[str, Sample]) -> None:
        """What the versions that serve are doing, by name."""
        now_s = self._monotonic_s()
        for name, sample in samples.items():
            rings = self._rings.pop(name, None) or [_Ring(*resolution) for resolution in _RESOLUTIONS]
            self._rings[name] = rings
            for ring in rings:
                ring.add(now_s, sample)
        gone = [name for name in self._rings if name not in samples]
        for place, name in enumerate(reversed(gone)):
            if place >= _GONE_MAX or now_s - self._rings[name][0].newest_s > RANGES_S["1d"]:
                del self._rings[name]

    def to_json(self, span: str = "5m") -> dict[str, Any]:
        """{"range", "range_s", "step_s", "now_s", "series", "versions": {name: points, the oldest first}}; a point has
        its time (seconds since 1970) and the `series` in their order. KeyError for a range that is none."""
        range_s = RANGES_S[span]
        level = next(index for index, (step_s, points) in enumerate(_RESOLUTIONS) if step_s * points >= range_s)
        now_s, wall_s = self._monotonic_s(), self._wall_s()
        versions = {}
        for name, rings in sorted(self._rings.items()):
            points = rings[level].since(now_s - range_s)
            if points:
                versions[name] = [[round(wall_s - now_s + at_s, 1), *map(_plain, values)] for at_s, *values in points]
        return {
            "range": span,
            "range_s": range_s,
            "step_s": _RESOLUTIONS[level][0],
            "now_s": wall_s,
            "series": list(SERIES),
            "versions": versions,
        }


class _Ring:
    """The newest points of one resolution. A point is of all samples within `step_s`, and has the last one's time."""

    def __init__(self, step_s: float, points_max: int) -> None:
        self._step_s = step_s
        self._size_max = points_max * _STRIDE
        self._points = array("d")  # the oldest stands at `_next`, once it is full
        self._next = 0
        self._open: list[Sample] = []  # that no point has yet
        self.newest_s = nan

    def add(self, at_s: float, sample: Sample) -> None:
        if self._open and at_s // self._step_s != self.newest_s // self._step_s:
            self._put(self._point())
            self._open = []
        self._open.append(sample)
        self.newest_s = at_s

    def since(self, at_s: float) -> list[list[float]]:
        """Points that are no older, the oldest first; NaN is "not known"."""
        values = [*self._points[self._next :], *self._points[: self._next]]
        points = [values[index : index + _STRIDE] for index in range(0, len(values), _STRIDE)]
        if self._open:
            points.append(self._point())
        return [point for point in points if point[0] >= at_s]

    def _put(self, point: list[float]) -> None:
        if len(self._points) < self._size_max:
            self._points.extend(point)
            return
        self._points[self._next : self._next + _STRIDE] = array("d", point)
        self._next = (self._next + _STRIDE) % self._size_max

    def _point(self) -> list[float]:
        point = [self.newest_s]
        for index, column in enumerate(zip(*map(astuple, self._open), strict=True)):
            known = [value for value in column if value is not None]
            if not known:
                point.append(nan)
            else:
                point.append(max(known) if index in _PEAKS else sum(known) / len(known))
        return point


def _plain(value: float) -> float | None:
    return None if isnan(value) else round(value, 3)
