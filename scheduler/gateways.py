"""What the gateways take of a host: the CPU of a call in them, how many cores that is, and how long a call is there.

A gateway is a process that Python's lock keeps to about one core, and a client's connection stays with one gateway. So
each is a queue of its own (M/G/1), and there is no more of them at work than there are processes, or cores for them.
"""

import math
from dataclasses import dataclass

from corelane.scheduler.numbers import amount, figure
from corelane.scheduler.queueing import Prediction, predict, service_of

# CPU of a gateway for a small call over gRPC: `python -m bench.serving`, the small model at batch 1, 446 us on a Xeon
# at 2.5 GHz (README.md). Large requests cost more: 1.1 ms with 200 string columns, 1.4 ms with 100 rows of them.
CALL_MS = 0.45
# Of calls of one kind, which is assumed: garbage collection and the lock's waits are in it.
CALL_CV = 0.5
# Between gateway and worker, both ways: `python -m bench.path`, 15 to 21 us at batch 1 (docs/benchmarks.md).
CHANNEL_MS = 0.02

# How busy gateways may be for the plan to call them enough, as the allocator reserves cores for them.
UTILISATION_MAX = 0.6
_CORES_PER_GATEWAY = 8


def gateway_processes(cores: int, wanted: int | None = None) -> int:
    """How many gateways of a protocol a host of `cores` hardware threads has; `wanted` is host.gateways, None for
    auto."""
    return wanted or max(2, cores // _CORES_PER_GATEWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlan:
    """`cpus` are those that gateways may run on; `others_load` is how many of them versions keep busy. Times of
    `prediction` are of a call's CPU in its gateway and the wait for it."""

    processes: int
    cpus: tuple[int, ...]
    rate_per_s: float
    call_ms: float
    others_load: float = 0.0

    @property
    def load(self) -> float:
        """Hardware threads that calls keep busy."""
        return self.rate_per_s / 1000 * self.call_ms

    @property
    def servers(self) -> int:
        """Gateways that can be at work at once."""
        return max(1, min(self.processes, len(self.cpus)))

    @property
    def utilisation(self) -> float:
        return self.load / self.servers

    @property
    def cpus_needed(self) -> int:
        """Hardware threads, and gateways, that keep calls from waiting long."""
        return max(1, math.ceil(self.load / UTILISATION_MAX - 1e-9))

    @property
    def slowdown(self) -> float:
        """By how much versions on the same cores slow a call down."""
        left = 1 - self.others_load / max(1, len(self.cpus))
        return 1 / left if left > 0 else math.inf

    @property
    def prediction(self) -> Prediction:
        if math.isinf(self.slowdown):
            return Prediction(utilisation=self.utilisation, mean_ms=math.inf, p50_ms=math.inf, p99_ms=math.inf)
        service = service_of([(1.0, self.call_ms * self.slowdown)], CALL_CV)
        return predict(self.rate_per_s / 1000 / self.servers, service, 1)

    @property
    def bound(self) -> str:
        """What keeps the gateways from more calls: "processes" or "cores"; empty where they are enough."""
        if self.load <= UTILISATION_MAX * self.servers:
            return ""
        return "processes" if self.processes < min(len(self.cpus), self.cpus_needed) else "cores"

    def describe(self) -> str:
        calls = f"{amount(self.rate_per_s)} calls/s of {figure(self.call_ms)} ms of CPU"
        there = f"{self.servers} of {self.processes} can be at work at once"
        if self.utilisation < 1:
            there += f", {self.utilisation:.0%} busy"
        return f"{calls} keep {figure(self.load)} cores busy; {there}; {_enough(self.cpus_needed)}{_bound(self)}"

    def problem(self) -> str | None:
        """A sentence, if calls come faster than the gateways take them."""
        if self.prediction.stable:
            return None
        told = f"gateways cannot keep up: {amount(self.rate_per_s)} calls/s of {figure(self.call_ms)} ms of CPU are "
        told += f"{figure(self.load)} cores' work; {self.servers} can be at work at once"
        needed = self.cpus_needed
        if needed <= len(self.cpus) and self.processes < needed:
            return f"{told}: set host.gateways to {needed}"
        if self.others_load > 0:
            return f"{told}, on cores that versions keep busy, too"
        return f"{told}: they need {needed} cores, and host.gateways: {needed}"


def _enough(cpus: int) -> str:
    return f"{cpus} {'is' if cpus == 1 else 'are'} enough at {UTILISATION_MAX:.0%}"


def _bound(plan: GatewayPlan) -> str:
    if plan.bound == "processes":
        return f"; bounded by host.gateways: {plan.processes} processes"
    return f"; bounded by cores: they may run on {len(plan.cpus)}" if plan.bound == "cores" else ""
