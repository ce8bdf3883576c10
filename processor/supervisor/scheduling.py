"""The scheduler at work: from live traffic to a core allocation, and from that to pins.

A plan comes from `scheduler.reallocation`, which is pure. Here its inputs are gathered. The supervisor carries it out:
sessions by a message to their worker, gateways and loads by their affinity.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corelane.processor.control.worker_messages import Place
from corelane.processor.manifest import Manifest
from corelane.processor.supervisor.demands import DemandMeter, demand_of
from corelane.processor.supervisor.events import Events, Kind
from corelane.scheduler import CoreAllocation, Host, Profile, Settings, core_list
from corelane.scheduler.reallocation import Standing, consider

if TYPE_CHECKING:
    from corelane.processor.supervisor.children.worker import Worker

_logger = logging.getLogger("corelane")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A worker that serves, as the scheduler needs it."""

    instance: int
    model: str
    version: int
    profile: Profile
    statistics: Mapping[str, object]


def served_of(worker: Worker) -> Served:
    """Of a worker that is available."""
    spec = worker.instance.spec
    assert worker.profile is not None, "it said so when it became available"
    return Served(
        instance=worker.instance.id,
        model=spec.model,
        version=spec.version,
        profile=worker.profile,
        statistics=worker.channel.statistics(),
    )


class Scheduling:
    """Belongs to the event loop's thread."""

    def __init__(self, host: Host, events: Events) -> None:
        self.host = host
        self._events = events
        self.changes = 0
        self.standing: Standing | None = None
        self.settings = Settings()
        self._meters: dict[int, DemandMeter] = {}
        self._gateway_cpu: deque[tuple[float, float]] = deque(maxlen=15)

    @property
    def plan(self) -> CoreAllocation | None:
        return self.standing.allocation if self.standing else None

    def meter(self, instance: int) -> DemandMeter:
        return self._meters.setdefault(instance, DemandMeter())

    def observe(self, served: Sequence[Served]) -> None:
        """Reads what the channels say."""
        now_s = time.monotonic()
        self._meters = {one.instance: self.meter(one.instance) for one in served}
        for one in served:
            self._meters[one.instance].read(one.statistics, now_s)

    def update(self, served: Sequence[Served], manifest: Manifest, gateway_cpu_s: float) -> None:
        """Plans anew from what was observed. If cores change hands, there is an event."""
        now_s = time.monotonic()
        self._gateway_cpu.append((now_s, gateway_cpu_s))
        (then_s, then_cpu_s) = self._gateway_cpu[0]
        load = (gateway_cpu_s - then_cpu_s) / (now_s - then_s) if now_s > then_s else 0.0
        self.settings = Settings(
            reserved_cores=manifest.host.reserved_cores,
            smt=manifest.host.smt,
            # A change of a quarter of a core is none.
            gateway_load=round(max(load, 0.0) * 4) / 4,
        )
        demands = []
        for one in served:
            meter = self._meters[one.instance]
            if (model := manifest.model(one.model)) is not None:
                demands.append(demand_of(model, one.version, one.profile, meter.rate_per_s, meter.service))
        if not demands:
            self.standing = None
            return
        decision = consider(self.standing, self.host, demands, self.settings, now_s)
        self.standing = decision.standing
        if decision.reason:
            self.changes += 1
            self._tell(decision.standing.allocation, decision.reason)

    def placement(self, model: str, version: int) -> Place | None:
        """The cores of each session of a version, and whether it shares the pool; None if it is not in the plan."""
        found = self.plan.version(f"{model}/{version}") if self.plan else None
        return None if found is None else Place(sessions=found.sessions, shares=found.shares)

    def cpus_of_gateways(self) -> tuple[int, ...]:
        """The reserve; on a small host the pool, so that baselines are left alone."""
        return (self.plan and (self.plan.reserve or self.plan.pool)) or self.host.cpus

    def cpus_of_loads(self) -> tuple[int, ...]:
        """Where versions are loaded and measured, so that no baseline notices."""
        if self.plan is None:
            return self.host.cpus
        return self.plan.pool or self.plan.reserve or self.host.cpus

    def _tell(self, plan: CoreAllocation, reason: str) -> None:
        own = [f"{version.name} {core_list(version.cpus)}" for version in plan.versions if not version.shares]
        shared = [f"pool {core_list(plan.pool)}"] if plan.pool else []
        reserve = [f"reserve {core_list(plan.reserve)}"] if plan.reserve else []
        self._events.note(Kind.CORES, f"cores: {', '.join([*own, *shared, *reserve])} ({reason})")
        for problem in plan.problems:
            self._events.note(Kind.CORES, f"cores: {problem}", level=logging.WARNING)


def pin(pid: int, cpus: Sequence[int]) -> None:
    """Keeps all threads of a process, and those it will start, on these cores. One that has ended is no error; where
    the system refuses, it runs where it ran."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cpus)


def limited(host: Host, cores: int | None) -> Host:
    """The host with no more cores than the manifest gives us."""
    if cores is None:
        return host
    quota = cores if host.quota_cores is None else min(host.quota_cores, cores)
    return Host(physical=host.physical, quota_cores=quota, instruction_sets=host.instruction_sets)
