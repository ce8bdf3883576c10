"""The core-allocation report of the running server: the plan, and what its channels have measured."""

from typing import Any

from processor.supervisor.runtime import memory_bytes
from processor.supervisor.supervisor import Supervisor
from scheduler.report import Measured, to_report


def report(supervisor: Supervisor) -> dict[str, Any]:
    """As `scheduler.report` describes it. Latencies are of the last half minute, on the server."""
    measured = {}
    for worker, served in supervisor.served():
        meter = supervisor.scheduling.meter(served.instance)
        measured[f"{served.model}/{served.version}"] = Measured(
            p50_ms=meter.latency_ms(0.5),
            p99_ms=meter.latency_ms(0.99),
            precision=worker.precision["name"],
            memory_bytes=memory_bytes(worker.child.pid),
        )
    if supervisor.manifest.host.scheduler == "disabled":
        return {
            **to_report(supervisor.host, None, {}),
            "problems": ["host.scheduler is disabled: sessions run on any core"],
        }
    events = [(event.at_s, event.reason) for event in supervisor.scheduling.events]
    return to_report(supervisor.host, supervisor.scheduling.plan, measured, events)
