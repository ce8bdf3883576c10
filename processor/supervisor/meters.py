"""What the metrics are made of: read from channels and processes, and what is left of workers that have ended.

`take` reads everything on the event loop, which takes microseconds a version; `processor.supervisor.exposition` makes
text of it elsewhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from processor.methods import Entry
from processor.supervisor.lifecycle import Phase
from processor.supervisor.runtime import cpu_s, memory_bytes

if TYPE_CHECKING:
    from processor.supervisor.supervisor import Supervisor
from processor.supervisor.worker import Worker

# (counts by `processor.histogram.BOUNDS_US`, sum in ns)
Histogram = tuple[list[int], int]


@dataclass(slots=True)
class Totals:
    """By model, over all its versions since the server started: what TensorFlow Serving's metrics say."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    latency: dict[tuple[str, int, int], Histogram] = field(default_factory=dict)  # model, method, entry
    run: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # model, engine
    load_us: Counter[str] = field(default_factory=Counter)  # by model's path
    loads: Counter[tuple[str, str]] = field(default_factory=Counter)  # path, "success" or "fail"
    warm_ups: dict[str, list[float]] = field(default_factory=dict)  # seconds each, by path

    def add(self, model: str, engine: str, details: Mapping[str, Any]) -> None:
        """A worker's counts."""
        for _, entry, code, count in details["codes"]:
            if entry != Entry.SHADOW:
                self.codes[model, code] += count
        for method, entry, histogram in details["latency"]:
            if entry != Entry.SHADOW:
                _merge(self.latency, (model, method, entry), histogram)
        _merge(self.run, (model, engine), details["run"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNumbers:
    """A version's newest worker. Times in seconds; None is "not known" or "none"."""

    model: str
    version: int
    role: str
    engine: str
    precision: str
    statistics: Mapping[str, Any]
    details: Mapping[str, Any]
    sessions: int
    shares: bool
    cpus: int
    queue_capacity: int
    pool_weight: float
    gate_held: int
    gate_waiting: int
    cpu_s: float
    memory_bytes: int | None
    load_s: float
    slo_p99_s: float | None
    p99_s: float | None
    predicted_p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    protocol: str
    ready: bool
    cpu_s: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    versions: list[VersionNumbers]
    states: list[tuple[str, int, str]]
    totals: Totals
    refused: Mapping[tuple[str, int], int]  # by model ("" for one that is not known) and code, before any version
    restarts: Mapping[tuple[str, int], int]
    shadows: Mapping[tuple[str, int, str], int]
    differences: Mapping[tuple[str, int, str], int]
    logged: Mapping[tuple[str, str], int]
    gateways: list[Process]
    reserve_cpus: int
    pool_cpus: int
    pool_taken: int
    plan_changes: int
    plan_problems: int
    ready: bool
    uptime_s: float


class Meters:
    """Counts that outlive workers. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.past = Totals()
        self.refused: Counter[tuple[str, int]] = Counter()
        self.restarts: Counter[tuple[str, int]] = Counter()
        self.shadows: Counter[tuple[str, int, str]] = Counter()  # model, version, what came of it
        self.logged: Counter[tuple[str, str]] = Counter()  # model, what came of a call drawn for the request log
        self.differences: Counter[tuple[str, int, str]] = Counter()  # model, version, power of ten

    def loaded(self, worker: Worker, warm_up_s: float) -> None:
        path = worker.instance.spec.folder
        self.past.load_us[path] += round(worker.load_s * 1e6)
        self.past.loads[path, "success"] += 1
        self.past.warm_ups.setdefault(path, []).append(warm_up_s)

    def ended(self, worker: Worker, failed: bool) -> None:
        """Of a worker that is gone; `failed`: by a fault."""
        spec = worker.instance.spec
        if worker.instance.phase is Phase.LOADING:
            if failed:
                self.past.loads[spec.folder, "fail"] += 1
            return
        self.past.add(spec.model, worker.engine, worker.channel.details())
        if failed:
            self.restarts[spec.model, spec.version] += 1

    def heard(self, counts: list[tuple[str, str, int, str, int]]) -> None:
        """What a gateway counted that no channel could."""
        for kind, model, number, what, count in counts:
            if kind == "refused":
                self.refused[model, number] += count
            elif kind == "shadow":
                self.shadows[model, number, what] += count
            elif kind == "log":
                self.logged[model, what] += count
            else:
                self.differences[model, number, what] += count


def take(supervisor: Supervisor) -> Snapshot:
    """Everything as it is now."""
    totals = Totals()
    past = supervisor.meters.past
    totals.codes.update(past.codes)
    totals.latency |= past.latency
    totals.run |= past.run
    totals.load_us, totals.loads, totals.warm_ups = past.load_us, past.loads, dict(past.warm_ups)
    versions = []
    newest = {id(worker) for worker, _ in supervisor.served()}
    for worker in supervisor.workers:
        if worker.instance.phase is Phase.LOADING:
            continue
        details = worker.channel.details()
        totals.add(worker.instance.spec.model, worker.engine, details)
        if id(worker) in newest:
            versions.append(_numbers(supervisor, worker, details))
    for (model, code), count in supervisor.meters.refused.items():
        totals.codes[model, code] += count
    plan = supervisor.scheduling.plan
    wanted = supervisor.wanted()
    return Snapshot(
        versions=versions,
        states=[
            (model.name, report.version, report.state.value)
            for model in supervisor.manifest.models
            for report in supervisor.version_reports(model.name, wanted)
        ],
        totals=totals,
        refused=dict(supervisor.meters.refused),
        restarts=dict(supervisor.meters.restarts),
        shadows=dict(supervisor.meters.shadows),
        differences=dict(supervisor.meters.differences),
        logged=dict(supervisor.meters.logged),
        gateways=[
            Process(
                protocol=gateway.kind["protocol"],
                ready=gateway.ready,
                cpu_s=cpu_s(gateway.child.pid),
                memory_bytes=memory_bytes(gateway.child.pid),
            )
            for gateway in supervisor.gateways.list
        ],
        reserve_cpus=len(plan.reserve) if plan else 0,
        pool_cpus=len(plan.pool) if plan else 0,
        pool_taken=supervisor.workers.gate.taken,
        plan_changes=supervisor.scheduling.changes,
        plan_problems=len(plan.problems) if plan else 0,
        ready=supervisor.ready,
        uptime_s=time.time() - supervisor.started_s,
    )


def _numbers(supervisor: Supervisor, worker: Worker, details: Mapping[str, Any]) -> VersionNumbers:
    spec = worker.instance.spec
    plan = supervisor.scheduling.plan
    found = plan.version(spec.name) if plan else None
    settings = supervisor.manifest.model(spec.model)
    slo_ms = settings.slo_p99_ms if settings else None
    p99_ms = supervisor.scheduling.meter(worker.instance.id).latency_ms(0.99)
    predicted_ms = found.prediction.p99_ms if found else None
    return VersionNumbers(
        model=spec.model,
        version=spec.version,
        role=settings.settings_of(spec.version).role if settings else "",
        engine=worker.engine,
        precision=worker.precision["name"],
        statistics=worker.channel.statistics(),
        details=details,
        sessions=len(worker.placed["sessions"]) if worker.placed else spec.sessions,
        shares=found.shares if found else False,
        cpus=len(found.cpus) if found else 0,
        queue_capacity=spec.queue_capacity,
        pool_weight=spec.pool_weight,
        gate_held=supervisor.workers.gate.held(worker.member),
        gate_waiting=supervisor.workers.gate.waiting(worker.member),
        cpu_s=cpu_s(worker.child.pid),
        memory_bytes=memory_bytes(worker.child.pid),
        load_s=worker.load_s,
        slo_p99_s=None if slo_ms is None else slo_ms / 1000,
        p99_s=None if p99_ms is None else p99_ms / 1000,
        predicted_p99_s=None if predicted_ms is None else predicted_ms / 1000,
    )


def _merge(into: dict[Any, Histogram], key: Any, histogram: Histogram) -> None:
    counts, sum_ns = histogram
    known = into.get(key)
    if known is None:
        into[key] = (counts, sum_ns)
    else:
        into[key] = ([old + new for old, new in zip(known[0], counts, strict=True)], known[1] + sum_ns)
