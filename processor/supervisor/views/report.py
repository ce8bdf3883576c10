"""The core-allocation report of the running server: the plan, and what its channels have measured."""

import socket
from typing import Any

from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.runtime import memory_bytes
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.scheduler.report import Measured, to_report

_CHANGES = (Kind.CORES, Kind.PROMOTED, Kind.SPLIT, Kind.ROLLED_BACK)
_CHANGES_MAX = 100


def report(supervisor: Supervisor) -> dict[str, Any]:
    """As `scheduler.report` describes it, with the host's `name`, and of each hardware thread how `busy` it is, from 0
    to 1, whoever uses it. Latencies are of the last half minute, on the server."""
    measured = {}
    for worker, served in supervisor.served():
        meter = supervisor.scheduling.meter(served.instance)
        measured[f"{served.model}/{served.version}"] = Measured(
            p50_ms=meter.latency_ms(0.5),
            p99_ms=meter.latency_ms(0.99),
            precision=worker.precision.name,
            memory_bytes=memory_bytes(worker.child.pid),
        )
    if supervisor.manifest.host.scheduler == "disabled":
        document = to_report(supervisor.host, None, {})
        document["problems"] = ["host.scheduler is disabled: sessions run on any core"]
    else:
        document = to_report(supervisor.host, supervisor.scheduling.plan, measured, core_changes(supervisor.events))
    document["host"]["name"] = socket.gethostname()
    for thread in document["host"]["map"]:
        thread["busy"] = supervisor.measures.core_use.busy.get(thread["cpu"])
    return document


def core_changes(events: Events) -> list[tuple[float, str]]:
    """When (seconds since 1970) and why cores, or a model's calls, went to others; the newest last."""
    return [(event.at_s, event.text) for event in events.latest() if event.kind in _CHANGES][-_CHANGES_MAX:]
