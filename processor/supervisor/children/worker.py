"""A worker process as the supervisor sees it."""

import dataclasses

from corelane.processor._native import SharedChannel
from corelane.processor.control.choices import Precision
from corelane.processor.control.worker_messages import Place
from corelane.processor.loading.phases import LoadPhase
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.lifecycle import Instance
from corelane.scheduler import Profile


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """A worker process and what it last said. The supervisor's own, on the event loop."""

    instance: Instance
    child: Child
    channel: SharedChannel
    member: int  # of the pool's gate
    epoch: int | None = None  # of the first routing table in which its phase shows
    load_phase: LoadPhase = LoadPhase.STARTING
    load_signature: str = ""  # that is being run; none
    engine: str = ""
    engine_why: str = ""
    notes: tuple[str, ...] = ()  # what of the version is not served
    signatures: bytes = b""  # a GetModelMetadataResponse; empty if it is too large
    load_s: float = 0.0
    precision: Precision = dataclasses.field(default_factory=lambda: Precision(name="", why="", isa=""))  # its choice
    profile: Profile | None = None
    placed: Place | None = None  # its sessions' cores, as it was told last
    error: str = ""  # why it failed or was killed, if it or we said so
    drain_sent: bool = False
    cpu_s: float = 0.0  # that it had used when it was last looked at
