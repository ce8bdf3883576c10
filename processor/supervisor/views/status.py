"""What `status` says: one dictionary, the admin API's answer and the command line's source."""

import os
import time
from typing import Any

from corelane.processor.channel.histogram import quantile_us
from corelane.processor.channel.methods import Assignment
from corelane.processor.supervisor.api.page_actions import mode_of
from corelane.processor.supervisor.children.worker import Worker
from corelane.processor.supervisor.lifecycle import Phase, Standing, VersionReport
from corelane.processor.supervisor.runtime import cpu_s, memory_bytes
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.views.counts import ENDS, Counts
from corelane.processor.supervisor.views.meters import VersionKey
from corelane.processor.supervisor.views.report import core_changes

SCHEMA = 1


def status(supervisor: Supervisor) -> dict[str, Any]:
    """Versions, their states and what serves them. Times in ms, memory in bytes, CPU in seconds."""
    wanted = supervisor.wanted()
    counts = supervisor.meters.counts(supervisor.workers)
    now_ns = time.monotonic_ns()
    models = []
    for settings in supervisor.manifest.models:
        folder = supervisor.folders.get(settings.name)
        versions = []
        for report in supervisor.version_reports(settings.name, wanted):
            entry = settings.settings_of(report.version)
            label = next((label for label, version in settings.labels if version == report.version), None)
            versions.append(
                {
                    "version": report.version,
                    "state": _state(supervisor, settings.name, report),
                    "error": report.error,
                    "error_at_s": _wall_s(report.error_ns),
                    "retry_in_s": None if report.retry_ns is None else max(0.0, (report.retry_ns - now_ns) / 1e9),
                    "load": _load(supervisor, settings.name, report.version),
                    "restarts": supervisor.meters.restarts[settings.name, report.version],
                    "role": entry.role,
                    "label": label,
                    "traffic": entry.traffic,
                    "shadow": entry.shadow,
                    "pool_weight": settings.pool_weight,
                    "shadow_answers": {
                        what: count
                        for (model, number, what), count in supervisor.meters.shadows.items()
                        if (model, number) == (settings.name, report.version)
                    },
                    "last_minute": supervisor.measures.last_minute.to_json(
                        (settings.name, report.version), shares=_shares(supervisor, settings.name, report.version)
                    ),
                    **_worker(supervisor, supervisor.workers.serving(settings.name, report.version), counts),
                }
            )
        models.append(
            {
                "name": settings.name,
                "path": str(settings.path),
                "problem": folder.problem if folder else None,
                "missing_arms": supervisor.missing_arms(settings, wanted),
                "duplicates": list(folder.duplicates) if folder else [],
                "slo_p99_ms": settings.slo_p99_ms,
                "versions": versions,
            }
        )
    return {
        "schema": SCHEMA,
        "pid": os.getpid(),
        "grpc": supervisor.addresses["grpc"],
        "http": supervisor.addresses.get("http"),
        "ready": supervisor.ready,
        "settled": supervisor.settled,
        "not_ready": {name: model.reason for name, model in supervisor.unready().items()},
        "now_s": time.time(),
        "uptime_s": time.time() - supervisor.started_s,
        "cores": list(supervisor.host.cpus),
        "manifest_error": supervisor.manifest_error,
        "page_actions": mode_of(supervisor.manifest.listen),
        "gateways": [
            {
                "pid": gateway.child.pid,
                "protocol": gateway.kind.protocol,
                "ready": gateway.ready,
                "cpu_s": cpu_s(gateway.child.pid),
                "memory_bytes": memory_bytes(gateway.child.pid),
            }
            for gateway in supervisor.gateways.list
        ],
        "gateway_cpu_s": sum(seconds for _, seconds in supervisor.gateways.cpu_seconds()),
        "gateways_expected": len(supervisor.gateways.kinds),
        "gateway_error": "" if supervisor.gateways.up else supervisor.gateways.last_end,
        "models": models,
        "core_changes": [{"at_s": at_s, "reason": reason} for at_s, reason in core_changes(supervisor.events)],
    }


def _state(supervisor: Supervisor, model: str, report: VersionReport) -> str:
    """A version is AVAILABLE here once every gateway sends it requests; gateways say so from when they do."""
    if report.standing is Standing.AVAILABLE and not supervisor.workers.is_routed(model, report.version):
        return Standing.LOADING.value
    return report.standing.value


def _shares(supervisor: Supervisor, model: str, version: int) -> bool:
    """Whether a version runs on the pool's cores."""
    placed = supervisor.scheduling.placement(model, version)
    return placed is not None and placed.shares


def _wall_s(at_ns: int | None) -> float | None:
    """Seconds since 1970 of a time by the monotonic clock."""
    return None if at_ns is None else time.time() - (time.monotonic_ns() - at_ns) / 1e9


def _load(supervisor: Supervisor, model: str, version: int) -> dict[str, Any] | None:
    """What the load of a version is at, if one is under way."""
    loading = [
        worker
        for worker in supervisor.workers
        if worker.instance.phase is Phase.LOADING
        and (worker.instance.spec.model, worker.instance.spec.version) == (model, version)
    ]
    if not loading:
        return None
    worker = loading[-1]
    since_s = (time.monotonic_ns() - worker.instance.since_ns) / 1e9
    return {"phase": worker.load_phase, "signature": worker.load_signature, "since_s": since_s}


def _worker(supervisor: Supervisor, worker: Worker | None, by_version: dict[VersionKey, Counts]) -> dict[str, Any]:
    if worker is None:
        return {"pid": None}
    spec = worker.instance.spec
    now = worker.channel.statistics()
    counts = by_version.get((spec.model, spec.version), Counts())
    p50, p99 = (quantile_us(now["total_us"], fraction) for fraction in (0.5, 0.99))
    return {
        "pid": worker.child.pid,
        "engine": worker.engine,
        "engine_why": worker.engine_why,
        "notes": list(worker.notes),
        "precision": worker.precision.name,
        "precision_why": worker.precision.why,
        "onednn_isa": worker.precision.isa,
        "sessions": len(worker.placed.sessions) if worker.placed else spec.sessions,
        "threads_per_session": spec.threads_per_session,
        "load_s": worker.load_s,
        "available_since_s": _wall_s(worker.instance.since_ns),
        "cpu_s": cpu_s(worker.child.pid),
        "memory_bytes": memory_bytes(worker.child.pid),
        # Since the server started, over all workers of the version; what waits and runs is this one's.
        "requests": {
            **{name: counts.numbers[name] for name in ("accepted", *ENDS, "rejected", "through_python")},
            "queued": now["queued"],
            "running": now["running"],
        },
        "assigned": {assignment.name.lower(): counts.assigned[assignment] for assignment in Assignment},
        "p50_ms": None if p50 is None else p50 / 1000,
        "p99_ms": None if p99 is None else p99 / 1000,
    }
