"""The gateways' share of a host: the CPU time of a call in a gateway, the cores that calls need, and their latency.

Python's lock keeps a gateway process to about one core, and a client's connection stays with one gateway. So each
gateway is a queue of its own (M/G/1), and no more of them work at once than there are processes and cores for them.
"""

import math
from dataclasses import dataclass

from corelane.scheduler.numbers import amount, figure
from corelane.scheduler.queueing import Prediction, predict, service_of

# CPU of a gateway for a small call over gRPC: `python -m bench.serving`, the small model at batch 1, 446 us on a Xeon
# at 2.5 GHz (README.md). Large requests cost more: 1.1 ms with 200 string columns, 1.4 ms with 100 rows of them.
CALL_MS = 0.45
# An assumption about calls of one kind: it covers garbage collection and waits for the lock.
CALL_CV = 0.5
# Between gateway and worker, both ways: `python -m bench.path`, 15 to 21 us at batch 1 (docs/benchmarks.md).
CHANNEL_MS = 0.02

# The utilisation up to which gateways count as enough. The allocator reserves cores for them by it, too.
UTILISATION_MAX = 0.6
_CORES_PER_GATEWAY = 8


def gateway_processes(cores: int, setting: int | None = None) -> int:
    """The number of gateways per protocol on a host of `cores` hardware threads; `setting` is host.gateways, None for
    auto."""
    return setting or max(2, cores // _CORES_PER_GATEWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayForecast:
    """Gateways may run on `cpus`; versions keep `others_load` of these busy. The times of `prediction` are a call's CPU
    time in its gateway and its wait there."""

    processes: int
    cpus: tuple[int, ...]
    rate_per_s: float
    call_ms: float
    others_load: float = 0.0

    @property
    def load(self) -> float:
        """The hardware threads that calls keep busy."""
        return self.rate_per_s / 1000 * self.call_ms

    @property
    def servers(self) -> int:
        """The gateways that can work at once."""
        return max(1, min(self.processes, len(self.cpus)))

    @property
    def utilisation(self) -> float:
        return self.load / self.servers

    @property
    def cpus_needed(self) -> int:
        """The hardware threads, and as many gateways, with which calls do not wait long."""
        return max(1, math.ceil(self.load / UTILISATION_MAX - 1e-9))

    @property
    def slowdown(self) -> float:
        """The factor by which versions on the same cores slow a call down."""
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
        """The scarce resource: "processes" or "cores"; empty if both are enough."""
        if self.load <= UTILISATION_MAX * self.servers:
            return ""
        return "processes" if self.processes < min(len(self.cpus), self.cpus_needed) else "cores"

    def describe(self) -> str:
        calls = f"{amount(self.rate_per_s)} calls/s of {figure(self.call_ms)} ms of CPU"
        servers = f"{self.servers} of {self.processes} can be at work at once"
        if self.utilisation < 1:
            servers += f", {self.utilisation:.0%} busy"
        return f"{calls} keep {figure(self.load)} cores busy; {servers}; {_enough(self.cpus_needed)}{_bound(self)}"

    def problem(self) -> str | None:
        """A sentence if calls come faster than the gateways can take them; else None."""
        if self.prediction.stable:
            return None
        problem = f"gateways cannot keep up: {amount(self.rate_per_s)} calls/s of {figure(self.call_ms)} ms of CPU are "
        problem += f"{figure(self.load)} cores' work; {self.servers} can be at work at once"
        needed = self.cpus_needed
        if needed <= len(self.cpus) and self.processes < needed:
            return f"{problem}: set host.gateways to {needed}"
        if self.others_load > 0:
            return f"{problem}, on cores that versions keep busy, too"
        return f"{problem}: they need {needed} cores, and host.gateways: {needed}"


def _enough(cpus: int) -> str:
    return f"{cpus} {'is' if cpus == 1 else 'are'} enough at {UTILISATION_MAX:.0%}"


def _bound(forecast: GatewayForecast) -> str:
    if forecast.bound == "processes":
        return f"; bounded by host.gateways: {forecast.processes} processes"
    return f"; bounded by cores: they may run on {len(forecast.cpus)}" if forecast.bound == "cores" else ""
