"""Rates and latencies of the last minutes, for whoever looks at the page."""

import time
from collections import deque
from typing import Any

from processor.supervisor.demands import DemandMeter

_POINTS_MAX = 300
_KEPT_S = 600.0

# (seconds since 1970, requests a second, p50 ms, p99 ms); None where nothing was answered.
Point = tuple[float, float, float | None, float | None]


class History:
    """Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = {}

    def note(self, name: str, meter: DemandMeter) -> None:
        """What a version's meter says now."""
        point = (time.time(), meter.rate_per_s, meter.latency_ms(0.5), meter.latency_ms(0.99))
        self._points.setdefault(name, deque(maxlen=_POINTS_MAX)).append(point)

    def to_json(self) -> dict[str, Any]:
        """{"now_s", "versions": {name: points, the newest last}}; a version that went stays for ten minutes."""
        now_s = time.time()
        self._points = {name: points for name, points in self._points.items() if now_s - points[-1][0] < _KEPT_S}
        return {"now_s": now_s, "versions": {name: list(points) for name, points in sorted(self._points.items())}}
