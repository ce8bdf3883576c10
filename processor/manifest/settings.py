"""The manifest after validation: frozen, complete, with absolute paths. `None` stands for "auto" in numbers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from corelane.processor.control.gateway_settings import AuthSettings, LimitsSettings, TlsSettings, TracesSettings
from corelane.scheduler.allocation import Smt

Role = Literal["baseline", "ab"]

QUEUE_CAPACITY_MAX = 65536
SECONDS_MAX = 1e8  # three years: longer than any wait, and short enough for nanoseconds in 64 bits
MESSAGE_BYTES_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Addresses are "host:port"; port 0 lets the system choose."""

    grpc: str = "127.0.0.1:8500"
    grpc_socket: Path | None = None
    http: str | None = "127.0.0.1:8501"
    admin: str = "127.0.0.1:8502"
    page_actions: bool = False
    message_bytes_max: int = 64 * 1024 * 1024
    connections_max: int | None = None
    http_idle_s: float = 620.0
    grpc_ping_interval_s: float = 5.0
    grpc_compression: str = "none"
    metrics_path: str | None = "/monitoring/prometheus/metrics"
    access_log: str = "none"
    traces: TracesSettings | None = None
    tls: TlsSettings | None = None
    auth: AuthSettings | None = None
    limits: LimitsSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    cores: int | None = None
    reserved_cores: int | None = None
    smt: Smt = "together"
    scheduler: str = "auto"
    gateways: int | None = None
    drain_s: float = 30.0
    sandbox: str = "auto"
    worker_user: str | None = None
    ready: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    capacity: int = 256
    timeout_ms: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingSettings:
    """Requests that run together: up to `max_rows` rows of them, waited for up to `max_wait_us`."""

    max_rows: int
    max_wait_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLogSettings:
    """A percentage of a model's calls, kept in files of `bytes_max` together."""

    folder: Path
    percent: float = 1.0
    bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSettings:
    """One entry of a version list. `traffic` is its percentage of the calls that name no version; `shadow` that of the
    others' calls that are copied to it, and then it gets none of its own."""

    version: int
    role: Role = "baseline"
    label: str | None = None
    traffic: float | None = None
    shadow: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which numbered folders are served: the `latest` highest, all of them, or those listed."""

    kind: Literal["latest", "all", "listed"] = "latest"
    latest: int = 1
    listed: tuple[VersionSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceSettings:
    """How far a value a may be from a value b in fp32: |a - b| <= absolute + relative * |b|."""

    relative: float = 0.01
    absolute: float = 1e-5

    def __str__(self) -> str:
        return f"{{relative: {self.relative:g}, absolute: {self.absolute:g}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    name: str
    path: Path
    engine: str = "auto"
    versions: VersionPolicy = field(default_factory=VersionPolicy)
    role: Role = "baseline"
    labels: tuple[tuple[str, int], ...] = ()
    sticky_key: str | None = None
    missing_arm: str | None = None
    slo_p99_ms: float | None = None
    pool_weight: float = 1.0
    sessions: int | None = None
    threads_per_session: int = 1
    precision: str = "fp32"
    max_divergence: DivergenceSettings = field(default_factory=DivergenceSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    dispatch: str = "shared_queue"
    batching: BatchingSettings | None = None
    tensor_content: bool = False
    request_log: RequestLogSettings | None = None
    op_libraries: tuple[str, ...] = ()
    saved_model_tags: tuple[str, ...] = ("serve",)
    signature_method_name_check: bool = False
    load_timeout_s: float = 600.0
    run_timeout_s: float = 30.0
    memory_bytes_max: int | None = None

    def settings_of(self, version: int) -> VersionSettings:
        """The list entry of a version, or the short form's role for all."""
        for entry in self.versions.listed:
            if entry.version == version:
                return entry
        return VersionSettings(version=version, role=self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    listen: ListenSettings = field(default_factory=ListenSettings)
    host: HostSettings = field(default_factory=HostSettings)
    models: tuple[ModelSettings, ...] = ()

    def model(self, name: str) -> ModelSettings | None:
        return next((model for model in self.models if model.name == name), None)
