"""What the cost model only approximates, by discrete events: requests on sessions, or on threads the kernel slices.

The same seed gives the same outcome. C++ runs it: tens of millions of requests a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from corelane.scheduler import _native
from corelane.scheduler.queueing import Service

# What the kernel's fair scheduler gives a thread at a time, and what a switch between two takes from both: saving state
# and refilling caches. (Li, Ding, Shen, "Quantifying the cost of context switch", ExpCS 2007: 4 to 200 us with the
# size of the working set.)
SLICE_MS = 3.0
SWITCH_MS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Poisson arrivals of one version's requests. `weight` is of its share where several share cores."""

    rate_per_s: float
    service: Service
    slo_ms: float | None = None
    queue_capacity: int = 256
    queue_timeout_ms: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of a stream, after the warm-up. `in_time`: answered within the SLO; `refused`: no room, or waited too long."""

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
    """A session a core runs each request to its end. A free one takes the oldest request of the stream that is furthest
    behind its share; of one stream alone, the oldest."""
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
    """Every request has a thread and the kernel shares the cores out among them, evenly; while there are more threads
    than cores, each slice costs a switch."""
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


def _outcomes(found: Sequence[_native.Outcome]) -> list[Outcome]:
    return [Outcome(**{name: getattr(one, name) for name in Outcome.__dataclass_fields__}) for one in found]
