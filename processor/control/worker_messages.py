"""What the supervisor and a worker tell each other."""

from dataclasses import dataclass
from typing import Literal

from corelane.processor.control.choices import Choice, Precision
from corelane.processor.control.worker_spec import WorkerSpec
from corelane.processor.loading.phases import LoadPhase
from corelane.scheduler import Profile

# Of a load: "idle" takes what serving leaves, "beside" a tenth of a busy core; "normal" is for a version that restarts
# on the cores where it served.
LoadPriority = Literal["normal", "idle", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    """The first message to a worker.

    `channel` and `gate` are file descriptors that the worker inherits: its channel and the pool's gate. `instance` is
    the worker's number, `member` its number at the gate. `sandbox` is the manifest's `host.sandbox`. `cpus` are those
    that its sessions may be pinned to, `cores` bounds the sessions. `choice` is None until the worker has chosen its
    engine."""

    spec: WorkerSpec
    channel: int
    instance: int
    gate: int
    member: int
    sandbox: str
    priority: LoadPriority
    cpus: tuple[int, ...]
    cores: int
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """To a worker: have a session for each entry, pinned to those CPUs. `shares`: its requests take turns at the pool's
    gate."""

    sessions: tuple[tuple[int, ...], ...]
    shares: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """To a worker: answer what is queued, then end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStep:
    """From a worker: its load enters a phase. `signature` is the one that it runs there, empty for none."""

    phase: LoadPhase
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """From a worker: the version is loaded and its sessions serve.

    `notes` say which parts of the version are not served, or not as one might expect. `signatures` is a serialized
    GetModelMetadataResponse, empty if it has no room in a message."""

    engine: str
    engine_why: str
    notes: tuple[str, ...]
    signatures: bytes
    load_s: float
    warm_up_s: float
    precision: Precision
    profile: Profile
