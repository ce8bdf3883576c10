"""The core-allocation report as plain data: each owner's cores with the reason, predicted and measured latencies.

The schema, version 1. Times are in ms, memory in bytes; null is "not known" or "none".

host       description, cores (usable), instruction_sets, map: for every hardware thread its cpu, core (the lowest of
           its siblings), socket, node, cache (group), kind and owner: "reserve", "pool", "model/version" or ""
reserve    cpus, why
pool       cpus, why
problems   sentences: SLOs that cannot be met, too few cores
predicts   "client": predicted times are those of a client without the network; "server": queue and run
gateways   of a forecast for another host, else null: processes, cpus (where they may run), rate_per_s, call_ms
           (CPU of a call), load (hardware threads that they keep busy), utilisation, cpus_needed, bound ("",
           "processes" or "cores"), predicted {p50_ms, p99_ms} (in a gateway), why
smallest   only of `corelane plan --find-smallest`: is_enough, cores, limits (sentences: why no fewer, or why none)
unplanned  model, version (null: the model has none), why, mend: versions that the forecast leaves out
versions   model, version, role, shares (the pool), cpus, sessions (cores of each), rate_per_s, service_ms (mean),
           utilisation (of its cores), predicted {p50_ms, p99_ms}, measured {p50_ms, p99_ms}, slo_p99_ms, slo_met,
           slo_missed_by_ms, cores_short, precision, memory_bytes, why
events     at_s (seconds since 1970), reason; the newest last
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from corelane.scheduler.allocation import CoreAllocation, VersionAllocation
from corelane.scheduler.forecast import Forecast
from corelane.scheduler.queueing import Prediction
from corelane.scheduler.topology import Host

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurements of a running server for one version."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    precision: str | None = None
    memory_bytes: int | None = None


def forecast_report(
    forecast: Forecast, measured: Mapping[str, Measured], unplanned: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The report of a forecast for another host, with the latencies that its clients would see."""
    gateways = forecast.gateways
    versions = tuple(
        replace(version, prediction=forecast.clients[version.name]) for version in forecast.allocation.versions
    )
    allocation = replace(forecast.allocation, versions=versions, problems=forecast.problems)
    return {
        **to_report(forecast.host, allocation, measured),
        "predicts": "client",
        "gateways": {
            "processes": gateways.processes,
            "cpus": list(gateways.cpus),
            "rate_per_s": gateways.rate_per_s,
            "call_ms": gateways.call_ms,
            "load": gateways.load,
            "utilisation": gateways.utilisation,
            "cpus_needed": gateways.cpus_needed,
            "bound": gateways.bound,
            "predicted": _times(gateways.prediction),
            "why": gateways.describe(),
        },
        "unplanned": [dict(entry) for entry in unplanned],
    }


def to_report(
    host: Host,
    allocation: CoreAllocation | None,
    measured: Mapping[str, Measured],
    events: Sequence[tuple[float, str]] = (),
) -> dict[str, Any]:
    """The report; without an allocation, of a host that serves nothing."""
    allocation = allocation or CoreAllocation(reserve=(), pool=(), versions=())
    owners = _owners(allocation)
    return {
        "schema": SCHEMA,
        "host": {
            "description": host.describe(),
            "cores": host.cores,
            "instruction_sets": list(host.instruction_sets),
            "map": [
                {
                    "cpu": cpu,
                    "core": core.cpus[0],
                    "socket": core.socket,
                    "node": core.node,
                    "cache": core.cache,
                    "kind": core.kind,
                    "owner": owners.get(cpu, ""),
                }
                for core in host.physical
                for cpu in core.cpus
            ],
        },
        "reserve": {"cpus": list(allocation.reserve), "why": allocation.reserve_why},
        "pool": {"cpus": list(allocation.pool), "why": allocation.pool_why},
        "problems": list(allocation.problems),
        "predicts": "server",
        "gateways": None,
        "unplanned": [],
        "versions": [_version(version, measured.get(version.name, Measured())) for version in allocation.versions],
        "events": [{"at_s": at_s, "reason": reason} for at_s, reason in events],
    }


def _owners(allocation: CoreAllocation) -> dict[int, str]:
    owners = dict.fromkeys(allocation.reserve, "reserve") | dict.fromkeys(allocation.pool, "pool")
    for version in allocation.versions:
        if not version.shares:
            owners |= dict.fromkeys(version.cpus, version.name)
    return owners


def _version(allocation: VersionAllocation, measured: Measured) -> dict[str, Any]:
    demand, prediction = allocation.demand, allocation.prediction
    p99_ms = measured.p99_ms if measured.p99_ms is not None else _finite(prediction.p99_ms)
    slo = demand.slo_p99_ms
    met = None if slo is None else p99_ms is not None and p99_ms <= slo
    return {
        "model": demand.model,
        "version": demand.version,
        "role": demand.role,
        "shares": allocation.shares,
        "cpus": list(allocation.cpus),
        "sessions": [list(session) for session in allocation.sessions],
        "rate_per_s": demand.rate_per_s,
        "service_ms": demand.service.mean_ms,
        "utilisation": prediction.utilisation,
        "predicted": _times(prediction),
        "measured": {"p50_ms": measured.p50_ms, "p99_ms": measured.p99_ms},
        "slo_p99_ms": slo,
        "slo_met": met,
        "slo_missed_by_ms": p99_ms - slo if met is False and slo is not None and p99_ms is not None else None,
        "cores_short": allocation.cores_short,
        "precision": measured.precision,
        "memory_bytes": measured.memory_bytes,
        "why": allocation.why,
    }


def _times(prediction: Prediction) -> dict[str, float | None]:
    return {"p50_ms": _finite(prediction.p50_ms), "p99_ms": _finite(prediction.p99_ms)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
