"""What the page draws, looked at every two seconds: the history, the last minute, how busy the cores are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from corelane.processor.supervisor.views.core_use import CoreUse
from corelane.processor.supervisor.views.history import History, Sample
from corelane.processor.supervisor.views.last_minute import LastMinute

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor


class Measures:
    """Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.history = History()
        self.last_minute = LastMinute()
        self.core_use = CoreUse()

    def take(self, supervisor: Supervisor) -> None:
        """Looks at everything that serves."""
        self.core_use.look(supervisor.host.cpus)
        self.last_minute.read(supervisor.meters.counts(supervisor.workers), time.monotonic())
        samples = {}
        for _, served in supervisor.served():
            key, meter = (served.model, served.version), supervisor.scheduling.meter(served.instance)
            samples[f"{served.model}/{served.version}"] = Sample(
                rate_per_s=meter.rate_per_s,
                p50_ms=meter.latency_ms(0.5),
                p99_ms=meter.latency_ms(0.99),
                failed_per_s=self.last_minute.failed_per_s(key),
                cores=self.last_minute.cores(key),
            )
        self.history.note(samples)
