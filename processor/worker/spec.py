"""What a worker is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """All that a worker is told at its start; two equal specs are the same worker."""

    model: str
    version: int
    folder: str
    engine: str
    sessions: int
    threads_per_session: int
    precision: str
    op_libraries: tuple[str, ...]
    queue_capacity: int
    queue_timeout_ms: float
    dispatch: str
    memory_bytes_max: int | None
    message_bytes_max: int

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"
