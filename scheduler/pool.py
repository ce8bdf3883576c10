"""Versions that share cores by weight: the share of each when together they ask for too many, and their waiting times.

A session runs a request to its end. A free core takes the oldest request of the version that is furthest behind its
share. So a version that asks for less than its share waits only for the next free core, whatever the others ask for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler.demand import Demand
from corelane.scheduler.queueing import Prediction, WaitTail, mixture, predict_with_wait, wait_tail

_SHORT_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A pool of one size. `shares` are cores by version, `busy` is the busy share of all cores. `in_order` is the wait
    in order of arrival; None if the versions ask for more cores than the pool has."""

    shares: list[float]
    saturated: list[bool]
    busy: float
    in_order: WaitTail | None


class SharedPool:
    """The A/B versions on a number of sessions of one core each. `slowdown` multiplies their service times."""

    def __init__(self, demands: Sequence[Demand], slowdown: float = 1.0) -> None:
        self.demands = demands
        self._services = [demand.service.scaled(slowdown) for demand in demands]
        self._rates = [demand.rate_per_s / 1000 for demand in demands]
        self._loads = [rate * service.mean_ms for rate, service in zip(self._rates, self._services, strict=True)]
        self._weights = [demand.weight for demand in demands]
        self.load = sum(self._loads)
        self._order = _by_load_per_weight(self._loads, self._weights)
        self._calmer = _calmer_loads(self._loads, self._order)
        self._all = mixture(list(zip(self._rates, self._services, strict=True))) if self.load > 0 else None
        self._states: dict[int, _State] = {}

    def predict_all(self, sessions: int) -> Prediction:
        """Predicts a request of any version in order of arrival. It is quick, for choosing a size."""
        if self._all is None:
            return Prediction(utilisation=0.0, mean_ms=0.0, p50_ms=0.0, p99_ms=0.0)
        if self.load >= sessions:
            return _never(self.load / sessions)
        return predict_with_wait(self._all, wait_tail(sum(self._rates), self._all, sessions), self.load / sessions)

    def predict(self, index: int, sessions: int) -> Prediction:
        """Predicts one version, by its index in `demands`."""
        state = self._state(sessions)
        if state.saturated[index]:
            return _never(max(1.0, self._loads[index] / max(state.shares[index], 1e-9)))
        service, guaranteed = self._services[index], self._guaranteed(index, sessions)
        prediction = predict_with_wait(service, guaranteed, state.busy)
        if state.in_order is not None:
            in_order = predict_with_wait(service, state.in_order, state.busy)
            prediction = min(prediction, in_order, key=lambda candidate: candidate.p99_ms)
        return prediction

    def share(self, index: int, sessions: int) -> tuple[float, bool]:
        """The cores that a version gets, and whether it asks for more."""
        state = self._state(sessions)
        return state.shares[index], state.saturated[index]

    def alone_ms(self, index: int) -> float:
        """The p99 of a version that never waits."""
        return predict_with_wait(self._services[index], WaitTail(), 0.0).p99_ms

    def slack_ms(self) -> float:
        """The shortest wait that some version's SLO allows; infinite if no SLO can be met."""
        slos = enumerate(demand.slo_p99_ms for demand in self.demands)
        left = [slo - self.alone_ms(index) for index, slo in slos if slo is not None]
        return min((ms for ms in left if ms > 0), default=math.inf)

    def wait_p99_ms(self, sessions: int) -> float:
        tail = self._state(sessions).in_order
        if tail is None:
            return math.inf
        return max(0.0, math.log(tail.weight / 0.01) / tail.rate) if tail.weight > 0.01 else 0.0

    def sessions_for(self, index: int, slo_ms: float, at_least: int) -> int | None:
        """The fewest sessions with which a version meets its SLO; None if no number is enough."""
        if self.alone_ms(index) > slo_ms:
            return None
        low, high = at_least, at_least + 1
        while self.predict(index, high).p99_ms > slo_ms:
            low, high = high, high * 2
            if high > _SHORT_MAX:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.predict(index, middle).p99_ms <= slo_ms else (middle, high)
        return high

    def _state(self, sessions: int) -> _State:
        if sessions not in self._states:
            shares = fair_shares(self._loads, self._weights, sessions, self._order)
            pairs = zip(shares, self._loads, strict=True)
            saturated = [load > 0 and (share < load * (1 - 1e-9) or load >= sessions) for share, load in pairs]
            busy = min(1.0, sum(shares) / sessions)
            in_order: WaitTail | None = None
            if self._all is None:
                in_order = WaitTail()
            elif self.load < sessions:
                in_order = wait_tail(sum(self._rates), self._all, sessions)
            self._states[sessions] = _State(shares=shares, saturated=saturated, busy=busy, in_order=in_order)
        return self._states[sessions]

    def _guaranteed(self, index: int, sessions: int) -> WaitTail:
        """The wait of a version beside unlimited demand from all that ask for more: all cores are busy, and it waits
        for the next free one, which it shares only with calmer versions."""
        if self._all is None:
            return WaitTail()
        rate = max(sessions - self._calmer[index], 1e-9) / self._all.mean_ms
        return WaitTail(weight=1.0, rate=rate, mean_ms=1 / rate)


def _calmer_loads(loads: Sequence[float], order: Sequence[int]) -> list[float]:
    """For each version the load of all that ask for no more by weight, itself included."""
    total, calmer = 0.0, [0.0] * len(loads)
    for index in order:
        total += loads[index]
        calmer[index] = total
    return calmer


def fair_shares(
    loads: Sequence[float], weights: Sequence[float], cores: float, order: Sequence[int] | None = None
) -> list[float]:
    """Deals cores out by weight, to none more than it asks for; the others share the surplus (water-filling). `order`
    sorts the versions by load per weight, if it is known."""
    shares = [0.0] * len(loads)
    left, weight = float(cores), sum(weights)
    for index in order if order is not None else _by_load_per_weight(loads, weights):
        shares[index] = min(loads[index], left * weights[index] / weight if weight > 0 else 0.0)
        left -= shares[index]
        weight -= weights[index]
    return shares


def _by_load_per_weight(loads: Sequence[float], weights: Sequence[float]) -> list[int]:
    return sorted(range(len(loads)), key=lambda index: loads[index] / weights[index])


def _never(utilisation: float) -> Prediction:
    return Prediction(utilisation=utilisation, mean_ms=math.inf, p50_ms=math.inf, p99_ms=math.inf)
