"""The demand of a version: the cost of a request, their rate, and the latency objective."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from corelane.scheduler.queueing import Service, service_of

Role = Literal["baseline", "ab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time of a request on one session: fixed_ms + per_row_ms * rows. `cv` is its coefficient of variation at a fixed
    number of rows. `fit_error` is the largest relative distance of a measured point from the line."""

    fixed_ms: float
    per_row_ms: float
    cv: float = 0.1
    fit_error: float = 0.0

    def ms(self, rows: float) -> float:
        return self.fixed_ms + self.per_row_ms * rows


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The demand of one version. `batches` are (rows, share of the requests). `sessions` is a fixed number, or None for
    as many as its cores hold; a session takes `threads` hardware threads. `weight` sets its share of the pool.
    `observed`, the service times of live traffic, replaces `cost` and `batches`."""

    model: str
    version: int
    role: Role
    rate_per_s: float
    cost: Cost
    batches: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    slo_p99_ms: float | None = None
    sessions: int | None = None
    threads: int = 1
    weight: float = 1.0
    observed: Service | None = None

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"

    @cached_property
    def service(self) -> Service:
        if self.observed is not None:
            return self.observed
        return service_of([(share, self.cost.ms(rows)) for rows, share in self.batches], self.cost.cv)

    @property
    def load(self) -> float:
        """The number of sessions that its requests keep busy."""
        return self.rate_per_s / 1000 * self.service.mean_ms


def fit_cost(points: Sequence[tuple[float, float]], cv: float = 0.1) -> Cost:
    """Fits a line to measured (rows, ms) by least squares of relative differences, so that small batches count as much
    as large ones. Neither part is negative. ValueError without a point, or with a time of 0."""
    if not points or any(ms <= 0 for _, ms in points):
        raise ValueError("a cost is fitted to measured times above 0")
    # Minimise the sum of ((fixed + per_row * rows) / ms - 1) ** 2.
    a = sum(1 / ms**2 for _, ms in points)
    b = sum(rows / ms**2 for rows, ms in points)
    d = sum(rows**2 / ms**2 for rows, ms in points)
    e = sum(1 / ms for _, ms in points)
    f = sum(rows / ms for rows, ms in points)
    determinant = a * d - b * b
    if len({rows for rows, _ in points}) < 2 or determinant <= 1e-12 * a * d:
        fixed, per_row = e / a, 0.0
    else:
        fixed, per_row = (e * d - b * f) / determinant, (a * f - b * e) / determinant
        if per_row < 0:
            fixed, per_row = e / a, 0.0
        elif fixed < 0:
            fixed, per_row = 0.0, f / d
    error = max(abs((fixed + per_row * rows) / ms - 1) for rows, ms in points)
    return Cost(fixed_ms=fixed, per_row_ms=per_row, cv=cv, fit_error=error)
