"""The version that a worker serves, and what its sessions should be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """A version and how it is served. Workers with equal specs are interchangeable."""

    model: str
    version: int
    folder: str
    engine: str
    sessions: int
    threads_per_session: int
    precision: str
    divergence_relative: float
    divergence_absolute: float
    op_libraries: tuple[str, ...]
    queue_capacity: int
    queue_timeout_ms: float
    dispatch: str
    memory_bytes_max: int | None
    message_bytes_max: int
    tensor_content: bool = False
    checks_method: bool = False  # Classify and Regress only by signatures whose method says so
    saved_model_tags: tuple[str, ...] = ("serve",)
    batch_rows_max: int = 0
    batch_wait_us: float = 0.0
    pool_weight: float = 1.0
    run_timeout_s: float = 30.0  # of one request
    profile_folder: str = ""  # profiles are kept here; empty: nowhere

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlacement:
    """A session is pinned to `cpus` (empty: it runs wherever the process may), and takes requests unless `paused`."""

    cpus: tuple[int, ...] = ()
    paused: bool = False
