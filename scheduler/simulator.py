"""Simulates by discrete events what the cost model approximates: requests on sessions, or on time-sliced threads.

The same seed gives the same outcome. C++ runs it: tens of millions of requests a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler import _native
from corelane.scheduler.queueing import Service

# The time slice of the kernel's fair scheduler, and the cost of a switch between two threads: saving state and
# refilling caches. (Li, Ding, Shen, "Quantifying the cost of context switch", ExpCS 2007: 4 to 200 us with the
# size of the working set.)
SLICE_MS = 3.0
SWITCH_MS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Poisson arrivals of one version's requests. `weight` sets its share of cores that several streams share."""

    rate_per_s: float
    service: Service
    slo_ms: float | None = None
    queue_capacity: int = 256
    queue_timeout_ms: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Counts and latencies of a stream after the warm-up. `in_time` counts answers within the SLO; `refused` counts
    requests that found a full queue or waited too long."""

    arrived: int
    answered: int
    in_time: int
    refused: int
    mean_ms: float
    p50_ms: float
    p99_ms: float


def simulate_sessions(
    streams: Sequence[Stream], cores: int, seconds: float, *, warm_up_s: float = 1.0, seed: int = 1
) -> list[Outcome]:
    """Each core has a session, which runs a request to its end. A free session takes the oldest request of the stream
    that is furthest behind its share."""
    return _outcomes(
        _native.simulate_sessions(
            versions=_arrivals(streams), cores=cores, warm_up_ms=warm_up_s * 1000, ms=seconds * 1000, seed=seed
        )
    )


def simulate_slicing(
    streams: Sequence[Stream],
    cores: int,
    seconds: float,
    *,
    slice_ms: float = SLICE_MS,
    switch_ms: float = SWITCH_MS,
    warm_up_s: float = 1.0,
    seed: int = 1,
) -> list[Outcome]:
    """Every request has a thread, and the kernel shares the cores evenly among threads. With more threads than cores
    each slice costs a switch."""
    return _outcomes(
        _native.simulate_slicing(
            versions=_arrivals(streams),
            cores=cores,
            slice_ms=slice_ms,
            switch_ms=switch_ms,
            warm_up_ms=warm_up_s * 1000,
            ms=seconds * 1000,
            seed=seed,
        )
    )


def _arrivals(streams: Sequence[Stream]) -> list[_native.Arrivals]:
    return [
        _native.Arrivals(
            per_ms=stream.rate_per_s / 1000,
            service=stream.service.points,
            slo_ms=stream.slo_ms or 0.0,
            waiting_max=stream.queue_capacity,
            waiting_ms_max=stream.queue_timeout_ms or 0.0,
            weight=stream.weight,
        )
        for stream in streams
    ]


def _outcomes(outcomes: Sequence[_native.Outcome]) -> list[Outcome]:
    return [Outcome(**{name: getattr(item, name) for name in Outcome.__dataclass_fields__}) for item in outcomes]
