"""What the metrics are made of: read from channels and processes, and what is left of workers that have ended.

`take` reads everything on the event loop, which takes microseconds a version; `exposition` makes
text of it elsewhere.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.channel.methods import Entry
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.supervisor.lifecycle import Phase, WantedModel
from corelane.processor.supervisor.runtime import cpu_s, memory_bytes
from corelane.processor.supervisor.views.counts import Counts, Histogram, merge, no_durations

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.children.worker import Worker

VersionKey = tuple[str, int]  # model and version

# What is kept of versions without a worker, of each model, and of models that left the manifest: the latest of them.
_VERSIONS_MAX = 16
_MODELS_MAX = 16
# Gateways count a call that lost its worker after the worker's end.
_LATE_COUNTS_S = 5.0


@dataclass(slots=True)
class Totals:
    """By model, over all its versions since the server started: what TensorFlow Serving's metrics say."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    latency: dict[tuple[str, int, int], Histogram] = field(default_factory=dict)  # model, method, entry
    run: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # model, engine
    load_us: Counter[str] = field(default_factory=Counter)  # by version's path
    loads: Counter[tuple[str, str]] = field(default_factory=Counter)  # path, "success" or "fail"
    warm_ups: dict[str, Histogram] = field(default_factory=dict)  # by path

    def add(self, model: str, engine: str, details: Mapping[str, Any]) -> None:
        """A worker's counts."""
        for _, entry, code, count in details["codes"]:
            if entry != Entry.SHADOW:
                self.codes[model, code] += count
        for method, entry, histogram in details["latency"]:
            if entry != Entry.SHADOW:
                merge(self.latency, (model, method, entry), histogram)
        merge(self.run, (model, engine), details["run"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNumbers:
    """A version that serves, and the state of its newest worker. Times in seconds; None is "not known" or "none"."""

    model: str
    version: int
    role: str
    engine: str
    precision: str
    queued: int
    running: int
    sessions: int
    shares: bool
    cpus: int
    queue_capacity: int
    pool_weight: float
    gate_held: int
    gate_waiting: int
    memory_bytes: int | None
    load_s: float
    slo_p99_s: float | None
    p99_s: float | None
    predicted_p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A gateway's place: CPU time of all that were in it, and the state of the one that is, if one is."""

    protocol: str
    ready: bool
    cpu_s: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    versions: list[VersionNumbers]
    counts: Mapping[VersionKey, Counts]  # of those to be served, whether they have a worker now or not
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
    """Counts that outlive workers. Belongs to the event loop's thread.

    Invariant: what is kept of versions and models that are no more is bounded."""

    def __init__(self) -> None:
        self.past = Totals()
        self.refused: Counter[tuple[str, int]] = Counter()
        self.restarts: Counter[VersionKey] = Counter()
        self.shadows: Counter[tuple[str, int, str]] = Counter()  # model, version, what came of it
        self.logged: Counter[tuple[str, str]] = Counter()  # model, what came of a call drawn for the request log
        self.differences: Counter[tuple[str, int, str]] = Counter()  # model, version, power of ten
        self.failed_ns: Counter[VersionKey] = Counter()  # of inferences that failed
        self.last_ms: Counter[VersionKey] = Counter()  # when the last inference ended, since 1970
        self._highest: Counter[tuple[str, int, str]] = Counter()  # model, version, what it is a figure of
        self._versions: dict[VersionKey, Counts] = {}  # of ended workers
        self._late: list[tuple[float, Worker]] = []  # ended, and since when, but gateways may still count
        self._paths: dict[VersionKey, str] = {}  # of versions that were loaded or tried, the latest last

    def loaded(self, worker: Worker, warm_up_s: float) -> None:
        path = self._seen(worker)
        self.past.load_us[path] += round(worker.load_s * 1e6)
        self.past.loads[path, "success"] += 1
        slots, _ = no_durations()
        slots[bisect_left(BOUNDS_US, warm_up_s * 1e6)] = 1
        merge(self.past.warm_ups, path, (slots, round(warm_up_s * 1e9)))

    def ended(self, worker: Worker, failed: bool) -> None:
        """Of a worker that is gone; `failed`: by a fault."""
        spec, path = worker.instance.spec, self._seen(worker)
        if worker.instance.phase is Phase.LOADING:
            if failed:
                self.past.loads[path, "fail"] += 1
            return
        self._late.append((time.monotonic(), worker))
        if failed:
            self.restarts[spec.model, spec.version] += 1

    def _seen(self, worker: Worker) -> str:
        spec = worker.instance.spec
        self._paths.pop((spec.model, spec.version), None)
        self._paths[spec.model, spec.version] = spec.folder
        return spec.folder

    def forget(self, live: Collection[VersionKey], models: Collection[str]) -> None:
        """Drops what is kept of versions that are not `live`, but for each model's latest, and of models that are not
        among `models`, but for the latest."""
        self._fold()
        kept: Counter[str] = Counter()
        left: set[str] = set()  # models that left, and of which something is kept
        for key in reversed(list(self._paths)):
            model = key[0]
            if key in live:
                continue
            if model not in models and model not in left and len(left) < _MODELS_MAX:
                left.add(model)
            kept[model] += 1
            if kept[model] > _VERSIONS_MAX or (model not in models and model not in left):
                del self._paths[key]
        known = self._paths.keys() | set(live)
        self._versions = {key: counts for key, counts in self._versions.items() if key in known}
        for by_version in (self.shadows, self.differences, self._highest):
            for named in [named for named in by_version if named[:2] not in known]:
                del by_version[named]
        for of_version in (self.restarts, self.failed_ns, self.last_ms):
            for key in [key for key in of_version if key not in known]:
                del of_version[key]
        names = {model for model, _ in known} | set(models) | {""}
        past = self.past
        by_model: tuple[dict[Any, Any], ...] = (past.codes, past.latency, past.run, self.refused, self.logged)
        for counts in by_model:
            for named in [named for named in counts if named[0] not in names]:
                del counts[named]
        paths = set(self._paths.values())
        for path in [path for path in past.warm_ups if path not in paths]:
            del past.warm_ups[path]
        for path in [path for path in past.load_us if path not in paths]:
            del past.load_us[path]
        for tried in [tried for tried in past.loads if tried[0] not in paths]:
            del past.loads[tried]

    def _fold(self) -> None:
        """Adds up those workers that nobody counts for any more."""
        late_s = time.monotonic() - _LATE_COUNTS_S
        for since_s, worker in list(self._late):
            if since_s < late_s:
                self._late.remove((since_s, worker))
                spec, details = worker.instance.spec, worker.channel.details()
                self.past.add(spec.model, worker.engine, details)
                counts = self._versions.setdefault((spec.model, spec.version), Counts())
                _add(counts, worker, ended=True)
                counts.cpu_s += worker.cpu_s

    def never_falling(self, key: VersionKey, name: str, figure: int) -> int:
        """A figure that is made of several counters, which are read while they change: what it is, or was before."""
        highest = self._highest[*key, name] = max(self._highest[*key, name], figure)
        return highest

    def totals(self, workers: Iterable[Worker]) -> Totals:
        """By model, of all workers that there were, of which these are left."""
        past = self.past
        totals = Totals(
            codes=past.codes.copy(),
            latency=dict(past.latency),
            run=dict(past.run),
            load_us=past.load_us.copy(),
            loads=past.loads.copy(),
            warm_ups=dict(past.warm_ups),
        )
        for worker in (*workers, *(worker for _, worker in self._late)):
            if worker.instance.phase is not Phase.LOADING:
                totals.add(worker.instance.spec.model, worker.engine, worker.channel.details())
        for (model, code), count in self.refused.items():
            totals.codes[model, code] += count
        return totals

    def counts(self, workers: Iterable[Worker]) -> dict[VersionKey, Counts]:
        """By version, over all workers that there were and that anything is kept of; `workers` are those that are
        left."""
        counts = {key: counts.copy() for key, counts in self._versions.items()}
        left = [(worker, False) for worker in workers if worker.instance.phase is not Phase.LOADING]
        for worker, ended in [*left, *((worker, True) for _, worker in self._late)]:
            spec = worker.instance.spec
            of_version = counts.setdefault((spec.model, spec.version), Counts())
            if not ended:
                worker.cpu_s = max(worker.cpu_s, cpu_s(worker.child.pid))
            _add(of_version, worker, ended=ended)
            of_version.cpu_s += worker.cpu_s
        return counts

    def heard(self, counts: Iterable[Count]) -> None:
        """Adds what a gateway counted that no channel could."""
        for count in counts:
            key = count.model, count.version
            match count.kind:
                case CountKind.REFUSED:
                    self.refused[count.model, count.code] += count.number
                case CountKind.FAILED_NS:
                    self.failed_ns[key] += count.number
                case CountKind.LAST_MS:
                    self.last_ms[key] = max(self.last_ms[key], count.number)
                case CountKind.SHADOW:
                    self.shadows[*key, count.outcome] += count.number
                case CountKind.DIFFERENCE:
                    self.differences[*key, count.outcome] += count.number
                case CountKind.LOG:
                    self.logged[count.model, count.outcome] += count.number


def counts_now(supervisor: Supervisor, wanted: Iterable[WantedModel]) -> dict[VersionKey, Counts]:
    """Of the versions that are to be served, whether they have a worker now or not."""
    live = {(instance.spec.model, instance.spec.version) for instance in supervisor.workers.instances}
    for model in wanted:
        live |= {(model.name, version) for version in (*model.held, *(one.spec.version for one in model.versions))}
    return {key: counts for key, counts in supervisor.meters.counts(supervisor.workers).items() if key in live}


def _add(counts: Counts, worker: Worker, *, ended: bool) -> None:
    counts.add(
        worker.channel.statistics(),
        worker.channel.details(),
        ended=ended,
        batches=worker.instance.spec.batch_rows_max > 0,
    )


def take(supervisor: Supervisor) -> Snapshot:
    """Everything as it is now."""
    plan = supervisor.scheduling.plan
    wanted = supervisor.wanted()
    return Snapshot(
        versions=[_numbers(supervisor, worker) for worker, _ in supervisor.served()],
        counts=counts_now(supervisor, wanted),
        states=[
            (model.name, report.version, report.state.value)
            for model in supervisor.manifest.models
            for report in supervisor.version_reports(model.name, wanted)
        ],
        totals=supervisor.meters.totals(supervisor.workers),
        refused=dict(supervisor.meters.refused),
        restarts=dict(supervisor.meters.restarts),
        shadows=dict(supervisor.meters.shadows),
        differences=dict(supervisor.meters.differences),
        logged=dict(supervisor.meters.logged),
        gateways=_gateways(supervisor),
        reserve_cpus=len(plan.reserve) if plan else 0,
        pool_cpus=len(plan.pool) if plan else 0,
        pool_taken=supervisor.workers.gate.taken,
        plan_changes=supervisor.scheduling.changes,
        plan_problems=len(plan.problems) if plan else 0,
        ready=supervisor.ready,
        uptime_s=time.time() - supervisor.started_s,
    )


def _gateways(supervisor: Supervisor) -> list[Process]:
    live = {gateway.place: gateway for gateway in supervisor.gateways.list}
    return [
        Process(
            protocol=kind.protocol,
            ready=place in live and live[place].ready,
            cpu_s=used_s,
            memory_bytes=memory_bytes(live[place].child.pid) if place in live else None,
        )
        for place, (kind, used_s) in enumerate(supervisor.gateways.cpu_seconds())
    ]


def _numbers(supervisor: Supervisor, worker: Worker) -> VersionNumbers:
    spec, now = worker.instance.spec, worker.channel.statistics()
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
        precision=worker.precision.name,
        queued=now["queued"],
        running=now["running"],
        sessions=len(worker.placed.sessions) if worker.placed else spec.sessions,
        shares=found.shares if found else False,
        cpus=len(found.cpus) if found else 0,
        queue_capacity=spec.queue_capacity,
        pool_weight=spec.pool_weight,
        gate_held=supervisor.workers.gate.held(worker.member),
        gate_waiting=supervisor.workers.gate.waiting(worker.member),
        memory_bytes=memory_bytes(worker.child.pid),
        load_s=worker.load_s,
        slo_p99_s=None if slo_ms is None else slo_ms / 1000,
        p99_s=None if p99_ms is None else p99_ms / 1000,
        predicted_p99_s=None if predicted_ms is None else predicted_ms / 1000,
    )
