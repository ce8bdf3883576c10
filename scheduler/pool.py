"""Versions that share cores by weight: what each gets when they ask for more than there is, and how long they wait.

A session runs a request to its end; a free core takes the oldest request of the version that is furthest behind its
share. So a version that asks for less than its share waits only for cores to come free, however much the others ask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler.demand import Demand
from corelane.scheduler.queueing import Prediction, WaitTail, mixture, predict_with_wait, wait_tail

_SHORT_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A pool of one size. `shares` are cores by version; `busy` of all; `in_order` is the wait if all were served in
    order of arrival, None if they ask for more than there is."""

    shares: list[float]
    saturated: list[bool]
    busy: float
    in_order: WaitTail | None


class SharedPool:
    """The A/B versions on some number of sessions, each a core. `slowdown` stretches their service times."""

    def __init__(self, demands: Sequence[Demand], slowdown: float = 1.0) -> None:
        self.demands = demands
        self._services = [demand.service.scaled(slowdown) for demand in demands]
        self._rates = [demand.rate_per_s / 1000 for demand in demands]
        self._loads = [rate * service.mean_ms for rate, service in zip(self._rates, self._services, strict=True)]
        self._weights = [demand.weight for demand in demands]
        self.load = sum(self._loads)
        self._order = _by_what_they_ask(self._loads, self._weights)
        self._calmer = _calmer_loads(self._loads, self._order)
        self._all = mixture(list(zip(self._rates, self._services, strict=True))) if self.load > 0 else None
        self._states: dict[int, _State] = {}

    def predict_all(self, sessions: int) -> Prediction:
        """Of a request of any version, in order of arrival: quick, for choosing a size."""
        if self._all is None:
            return Prediction(utilisation=0.0, mean_ms=0.0, p50_ms=0.0, p99_ms=0.0)
        if self.load >= sessions:
            return _never(self.load / sessions)
        return predict_with_wait(self._all, wait_tail(sum(self._rates), self._all, sessions), self.load / sessions)

    def predict(self, index: int, sessions: int) -> Prediction:
        """Of one version, by its place among the demands."""
        state = self._state(sessions)
        if state.saturated[index]:
            return _never(max(1.0, self._loads[index] / max(state.shares[index], 1e-9)))
        service, guaranteed = self._services[index], self._guaranteed(index, sessions)
        found = predict_with_wait(service, guaranteed, state.busy)
        if state.in_order is not None:
            in_order = predict_with_wait(service, state.in_order, state.busy)
            found = min(found, in_order, key=lambda one: one.p99_ms)
        return found

    def share(self, index: int, sessions: int) -> tuple[float, bool]:
        """The cores that a version gets of what it asks, and whether that is less than it asks."""
        state = self._state(sessions)
        return state.shares[index], state.saturated[index]

    def alone_ms(self, index: int) -> float:
        """p99 of a version that never waits."""
        return predict_with_wait(self._services[index], WaitTail(), 0.0).p99_ms

    def slack_ms(self) -> float:
        """The least that a version's SLO leaves for waiting; infinite without an SLO that can be met."""
        slos = enumerate(demand.slo_p99_ms for demand in self.demands)
        left = [slo - self.alone_ms(index) for index, slo in slos if slo is not None]
        return min((ms for ms in left if ms > 0), default=math.inf)

    def wait_p99_ms(self, sessions: int) -> float:
        tail = self._state(sessions).in_order
        if tail is None:
            return math.inf
        return max(0.0, math.log(tail.weight / 0.01) / tail.rate) if tail.weight > 0.01 else 0.0

    def sessions_for(self, index: int, slo_ms: float, at_least: int) -> int | None:
        """The fewest sessions with which a version meets its SLO; None if no number does."""
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
        """The wait of a version if all that ask for more asked without end: all cores are busy, and it waits for the
        next to come free, which only it and the calmer ones share."""
        if self._all is None:
            return WaitTail()
        rate = max(sessions - self._calmer[index], 1e-9) / self._all.mean_ms
        return WaitTail(weight=1.0, rate=rate, mean_ms=1 / rate)


def _calmer_loads(loads: Sequence[float], order: Sequence[int]) -> list[float]:
    """For each version, the load of those that ask for no more than it, by weight, itself included."""
    total, found = 0.0, [0.0] * len(loads)
    for index in order:
        total += loads[index]
        found[index] = total
    return found


def fair_shares(
    loads: Sequence[float], weights: Sequence[float], cores: float, order: Sequence[int] | None = None
) -> list[float]:
    """Cores by weight, none more than it asks for; what one leaves, the others share (water-filling). `order` is that
    of what they ask for by weight, if it is known."""
    shares = [0.0] * len(loads)
    left, weight = float(cores), sum(weights)
    for index in order if order is not None else _by_what_they_ask(loads, weights):
        shares[index] = min(loads[index], left * weights[index] / weight if weight > 0 else 0.0)
        left -= shares[index]
        weight -= weights[index]
    return shares


def _by_what_they_ask(loads: Sequence[float], weights: Sequence[float]) -> list[int]:
    return sorted(range(len(loads)), key=lambda index: loads[index] / weights[index])


def _never(utilisation: float) -> Prediction:
    return Prediction(utilisation=utilisation, mean_ms=math.inf, p50_ms=math.inf, p99_ms=math.inf)
