"""Latency of requests: a queue of Poisson arrivals before sessions that serve in order of arrival (M/G/c).

- A request waits with probability C (Erlang C), as in M/M/c.
- Mean wait: Kimura's interpolation between M/M/c and M/D/c by the squared variation of the service time (T. Kimura, "A
  two-moment approximation for the mean waiting time in the GI/G/s queue", Management Science 32, 1986), with
  Cosmetatos' approximation of M/D/c (G. Cosmetatos, "Approximate explicit formulae for the average queueing time in
  the processes (M/D/r) and (D/M/r)", INFOR 13, 1975).
- Waits have an exponential tail. Its rate d solves E[exp(d S / c)] = 1 + d / arrivals, which holds in the limit of long
  waits (Y. Takahashi, "Asymptotic exponentiality of the tail of the waiting-time distribution in a PH/PH/c queue",
  Advances in Applied Probability 13, 1981); its weight is such that the mean is the one above.

The time in the system is wait plus service, independent of each other. `bench.cost_model` compares this with the
simulator. Times are in ms, rates in requests a ms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

# A Gamma distribution of mean 1 by the means of its fifths, at variation 0.25; other variations are scaled from it.
_FIFTHS = (-1.33, -0.55, -0.05, 0.48, 1.45)
_POINTS_MAX = 24


@dataclass(frozen=True)
class Service:
    """The distribution of service times, as points: (probability, ms), in order of ms."""

    points: tuple[tuple[float, float], ...]

    @cached_property
    def mean_ms(self) -> float:
        return sum(share * time for share, time in self.points)

    @cached_property
    def variation(self) -> float:
        """Squared coefficient of variation."""
        mean = self.mean_ms
        return sum(share * time * time for share, time in self.points) / (mean * mean) - 1 if mean > 0 else 0.0

    def scaled(self, factor: float) -> "Service":
        return Service(tuple((share, time * factor) for share, time in self.points))


def service_of(mix: Iterable[tuple[float, float]], cv: float = 0.0) -> Service:
    """The distribution of (weight, mean ms) of kinds of request, each with a coefficient of variation `cv`."""
    spread = []
    kinds = [(weight, mean) for weight, mean in mix if weight > 0]
    total = sum(weight for weight, _ in kinds)
    if not kinds:
        raise ValueError("a service time needs one kind of request at least")
    for weight, mean in kinds:
        if cv <= 0:
            spread.append((weight / total, mean))
        else:
            spread.extend((weight / total / len(_FIFTHS), mean * max(0.05, 1 + cv * step)) for step in _FIFTHS)
    spread.sort(key=lambda point: point[1])
    return Service(tuple(_merged(spread)))


def mixture(parts: Sequence[tuple[float, Service]]) -> Service:
    """The service times of several kinds of request together, by their rates."""
    total = sum(rate for rate, _ in parts)
    if total <= 0:
        raise ValueError("a mixture needs one rate above 0 at least")
    points = [(share * rate / total, time) for rate, service in parts if rate > 0 for share, time in service.points]
    points.sort(key=lambda point: point[1])
    return Service(tuple(_merged(points)))


def _merged(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merges neighbouring points of about equal probability; the mean stays. The longest times, which decide the tail,
    keep finer steps."""
    if len(points) <= _POINTS_MAX:
        return points
    merged: list[tuple[float, float]] = []
    share = weighted = below = 0.0
    for probability, time in points:
        share += probability
        weighted += probability * time
        below += probability
        step = max(0.3 * (1 - below), 0.002) if below > 0.5 else 0.06
        if share >= step:
            merged.append((share, weighted / share))
            share = weighted = 0.0
    if share > 0:
        merged.append((share, weighted / share))
    return sorted(merged, key=lambda point: point[1])  # equal times differ in the last bit


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTail:
    """P(wait > t) = weight * exp(-rate * t). The default is no wait."""

    weight: float = 0.0
    rate: float = 1.0
    mean_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Latency of a queue in balance. Times are infinite if requests come faster than they are served."""

    utilisation: float
    mean_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def stable(self) -> bool:
        return math.isfinite(self.mean_ms)


def predict(arrivals: float, service: Service, sessions: int) -> Prediction:
    """Predicts `arrivals` requests a ms at `sessions` sessions."""
    mean = service.mean_ms
    load = arrivals * mean
    utilisation = load / sessions
    if utilisation >= 1:
        return Prediction(utilisation=utilisation, mean_ms=math.inf, p50_ms=math.inf, p99_ms=math.inf)
    return predict_with_wait(service, wait_tail(arrivals, service, sessions), utilisation)


def wait_tail(arrivals: float, service: Service, sessions: int) -> WaitTail:
    """The wait at a utilisation below 1."""
    if arrivals <= 0:
        return WaitTail()
    mean_ms = mean_wait_ms(arrivals, service, sessions)
    rate = _tail_rate(arrivals, service, sessions)
    return WaitTail(weight=min(1.0, mean_ms * rate), rate=rate, mean_ms=mean_ms)


def predict_with_wait(service: Service, tail: WaitTail, utilisation: float) -> Prediction:
    """Predicts requests with this service time and this wait."""
    return Prediction(
        utilisation=utilisation,
        mean_ms=service.mean_ms + tail.mean_ms,
        p50_ms=_quantile(service, 0.5, tail),
        p99_ms=_quantile(service, 0.99, tail),
    )


def erlang_c(load: float, sessions: int) -> float:
    """The probability that a request waits, in M/M/c with this offered load (in sessions)."""
    blocked = 1.0
    for count in range(1, sessions + 1):
        blocked = load * blocked / (count + load * blocked)
    utilisation = load / sessions
    return blocked / (1 - utilisation * (1 - blocked))


def mean_wait_ms(arrivals: float, service: Service, sessions: int) -> float:
    mean, variation = service.mean_ms, max(service.variation, 0.0)
    load = arrivals * mean
    utilisation = load / sessions
    exponential = erlang_c(load, sessions) * mean / (sessions * (1 - utilisation))
    correction = (1 - utilisation) * (sessions - 1) * (math.sqrt(4 + 5 * sessions) - 2) / (16 * utilisation * sessions)
    fixed = 0.5 * (1 + min(correction, 1.0)) * exponential  # M/D/c never waits longer than M/M/c
    if exponential == 0:
        return 0.0
    if variation >= 1:
        return exponential * (1 + variation) / 2
    return (1 + variation) / (2 * variation / exponential + (1 - variation) / fixed)


def _tail_rate(arrivals: float, service: Service, sessions: int) -> float:
    """The d > 0 that solves E[exp(d S / c)] = 1 + d / arrivals, by Newton's method from above, where all is convex."""
    points = [(share, time / sessions) for share, time in service.points]
    longest = points[-1][1]

    def excess(rate: float) -> tuple[float, float]:
        value, slope = -1 - rate / arrivals, -1 / arrivals
        for share, time in points:
            term = share * math.exp(rate * time)
            value += term
            slope += term * time
        return value, slope

    # In heavy traffic the root is near this.
    mean = service.mean_ms
    rate = min(2 * (sessions - arrivals * mean) / (mean * (1 + service.variation)), 500 / longest)
    while rate * longest < 500 and excess(rate)[0] <= 0:
        rate *= 1.5
    for _ in range(60):
        value, slope = excess(rate)
        if slope <= 0:
            break
        step = value / slope
        rate -= step
        if abs(step) < 1e-9 * rate:
            break
    return max(rate, 1e-12)


def _quantile(service: Service, fraction: float, tail: WaitTail) -> float:
    """A quantile of wait plus service."""
    beyond, weight, rate = 1 - fraction, tail.weight, tail.rate
    # Between two neighbouring points the tail is one exponential: P(> t) = above + factor * exp(-rate * (t - time)).
    above, factor, last = 1.0, 0.0, 0.0
    for share, time in service.points:
        # At `time`, just before the requests of this point end.
        if factor > 0 and above + factor * math.exp(-rate * (time - last)) <= beyond and above < beyond:
            return last + math.log(factor / (beyond - above)) / rate
        factor = factor * math.exp(-rate * (time - last)) + share * weight
        above -= share
        last = time
        if max(above, 0.0) + factor <= beyond + 1e-12:
            return last
    return last + math.log(factor / (beyond - max(above, 0.0))) / rate if factor > beyond else last
