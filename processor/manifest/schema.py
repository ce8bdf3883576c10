"""The manifest's schema: every key with its type, default and meaning. Unknown keys are errors.

docs/manifest.md has its table of keys from here, which a test checks.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from corelane.processor.control.gateway_settings import (
    AuthSettings,
    JwtSettings,
    LimitsSettings,
    TlsSettings,
    TracesSettings,
)
from corelane.processor.manifest import values
from corelane.processor.manifest.faults import problem
from corelane.processor.manifest.listed_versions import ListedVersion, version_policy
from corelane.processor.manifest.settings import (
    MESSAGE_BYTES_MAX,
    QUEUE_CAPACITY_MAX,
    SECONDS_MAX,
    BatchingSettings,
    DivergenceSettings,
    HostSettings,
    ListenSettings,
    ModelSettings,
    QueueSettings,
    RequestLogSettings,
    VersionPolicy,
)
from corelane.processor.manifest.values import Address, AutoOrCount, LocalPath, Name, Strict


class Tls(Strict):
    certificate: LocalPath = Field(description="PEM file of the server's certificate and its chain")
    key: LocalPath = Field(description="PEM file of the certificate's private key")
    client_ca: LocalPath | None = Field(
        default=None,
        description="PEM file of an authority: clients need a certificate signed by it (mutual TLS); none: any "
        "client may connect",
    )

    def to_settings(self, base: Path) -> TlsSettings:
        return TlsSettings(
            certificate=base / self.certificate,
            key=base / self.key,
            client_ca=None if self.client_ca is None else base / self.client_ca,
        )


class Jwt(Strict):
    key: LocalPath = Field(description="file with the public key (PEM) or the shared secret")
    algorithms: list[str] = Field(default=["RS256"], min_length=1, description="the accepted signature algorithms")
    issuer: str | None = Field(default=None, description="the required issuer of tokens")
    audience: str | None = Field(default=None, description="the required audience of tokens")


class Auth(Strict):
    api_keys: LocalPath | None = Field(
        default=None,
        description="a file with a client and its key (or sha256:DIGEST) on each line; read again when it changes",
    )
    jwt: Jwt | None = Field(default=None, description="accept JSON Web Tokens; the token's subject names the client")
    managers: list[str] = Field(default_factory=list, description="the clients that may load, unload and reload models")

    @model_validator(mode="after")
    def _knows_clients(self) -> "Auth":
        if self.api_keys is None and self.jwt is None:
            raise problem("needs api_keys, jwt, or both")
        return self

    def to_settings(self, base: Path) -> AuthSettings:
        jwt = self.jwt
        return AuthSettings(
            api_keys=None if self.api_keys is None else base / self.api_keys,
            jwt=None
            if jwt is None
            else JwtSettings(
                key=base / jwt.key, algorithms=tuple(jwt.algorithms), issuer=jwt.issuer, audience=jwt.audience
            ),
            managers=tuple(self.managers),
        )


class Traces(Strict):
    endpoint: Annotated[str, AfterValidator(values.web_address)] = Field(
        description="URL of an OpenTelemetry collector, such as http://host:4318/v1/traces"
    )
    percent: float = Field(
        default=1.0, ge=0, le=100, description="percentage of calls to trace, unless the client decides for its call"
    )


class Limits(Strict):
    requests_per_s: float | None = Field(
        default=None, gt=0, le=1e9, description="most requests a second of a client at each gateway; none: unlimited"
    )
    in_flight: int | None = Field(
        default=None, ge=1, description="most requests under way of a client at each gateway; none: unlimited"
    )


class Listen(Strict):
    grpc: Address = Field(default=ListenSettings().grpc, description="address for gRPC clients")
    grpc_socket: LocalPath | None = Field(
        default=None, description="also listen for gRPC on this Unix socket; none: off"
    )
    http: Annotated[str | None, BeforeValidator(values.address_or_none)] = Field(
        default=ListenSettings().http, description="address for REST clients; none: REST is off"
    )
    admin: Address = Field(
        default=ListenSettings().admin,
        description="address of the admin port, for `status`, `apply` and the page; keep it on loopback",
    )
    page_actions: bool = Field(
        default=False,
        description="true: the admin port's page may promote, split and roll back; with auth it asks for a "
        "manager's key "
        "or token, without auth it needs admin on loopback",
    )
    message_bytes_max: int = Field(
        default=ListenSettings().message_bytes_max,
        ge=1024,
        le=MESSAGE_BYTES_MAX,
        description="size of the largest request or response",
    )
    connections_max: AutoOrCount = Field(
        default=None, description="most client connections to each gateway; auto: by its limit of file descriptors"
    )
    http_idle_s: float = Field(
        default=ListenSettings().http_idle_s,
        ge=1,
        le=SECONDS_MAX,
        description="seconds that an idle REST connection stays open; choose it longer than your load balancer does",
    )
    grpc_ping_interval_s: float = Field(
        default=ListenSettings().grpc_ping_interval_s,
        ge=0.1,
        le=SECONDS_MAX,
        description="shortest interval between a gRPC client's keepalive pings, with or without calls; a client "
        "that pings "
        "more often is disconnected",
    )
    grpc_compression: Literal["none", "gzip", "deflate"] = Field(
        default="none", description="compression of gRPC answers; requests may always be compressed"
    )
    metrics_path: Annotated[str | None, BeforeValidator(values.url_path_or_none)] = Field(
        default=ListenSettings().metrics_path,
        description="path of the metrics on the REST port; none: only the admin port has metrics",
    )
    access_log: Literal["none", "errors", "all"] = Field(
        default="none", description="log a line with the x-request-id for each call (all) or each failed call (errors)"
    )
    traces: Traces | None = Field(
        default=None, description="send an OpenTelemetry span for each call; none: off, at no cost"
    )
    tls: Tls | None = Field(
        default=None, description="TLS for gRPC and REST; files are read again when they change; none: off"
    )
    auth: Auth | None = Field(default=None, description="the clients that may call; none: every client")
    limits: Limits | None = Field(default=None, description="limits for each client; none: unlimited")

    def to_settings(self, base: Path) -> ListenSettings:
        apart = ("grpc_socket", "traces", "tls", "auth", "limits")
        return ListenSettings(
            **{name: getattr(self, name) for name in Listen.model_fields if name not in apart},
            grpc_socket=None if self.grpc_socket is None else base / self.grpc_socket,
            traces=None if self.traces is None else TracesSettings(**self.traces.model_dump()),
            tls=None if self.tls is None else self.tls.to_settings(base),
            auth=None if self.auth is None else self.auth.to_settings(base),
            limits=None if self.limits is None else LimitsSettings(**self.limits.model_dump()),
        )


class Host(Strict):
    cores: AutoOrCount = Field(default=None, description="number of cores to use; auto: all that the process may use")
    reserved_cores: AutoOrCount = Field(
        default=None, description="cores for gateways and the system; auto: one in eight, more if gateways need more"
    )
    smt: Literal["together", "free"] = Field(
        default="together",
        description="together: sessions run on all hardware threads of a core; free: only on the first, and its "
        "siblings stay idle",
    )
    scheduler: Literal["auto", "disabled"] = Field(
        default="auto", description="auto: versions get cores by cost and traffic; disabled: sessions run on any core"
    )
    gateways: Annotated[AutoOrCount, AfterValidator(values.thread_count)] = Field(
        default=None,
        description="number of gateway processes for gRPC, and for REST; auto: one for every 8 cores, at least two",
    )
    drain_s: float = Field(
        default=HostSettings().drain_s,
        gt=0,
        le=SECONDS_MAX,
        description="seconds that a stop waits for accepted requests",
    )
    # YAML 1.1 reads a bare off as false.
    sandbox: Annotated[
        Literal["auto", "off", "required"], BeforeValidator(lambda value: "off" if value is False else value)
    ] = Field(
        default="auto",
        description="containment of workers; auto: every layer that the kernel has; off: none; required: a load "
        "fails unless the kernel has every layer",
    )
    worker_user: Annotated[str | None, BeforeValidator(values.user)] = Field(
        default=None, description="user of the workers, if the server runs as root; none: the server's user"
    )
    ready: Literal["all", "any"] = Field(
        default="all",
        description="when probes report the server as ready; all: every model has a version that answers; any: "
        "one model "
        "has, and no load is under way",
    )


class Queue(Strict):
    capacity: int = Field(
        default=QueueSettings().capacity,
        ge=1,
        le=QUEUE_CAPACITY_MAX,
        description="number of requests that may wait for one version",
    )
    timeout_ms: float = Field(
        default=QueueSettings().timeout_ms,
        gt=0,
        le=SECONDS_MAX * 1000,
        description="longest wait of a request before it runs",
    )


class RequestLog(Strict):
    folder: Annotated[LocalPath, Field(min_length=1)] = Field(
        description="folder of the log files, relative to the manifest"
    )
    percent: float = Field(default=1.0, gt=0, le=100, description="percentage of the model's answered calls to keep")
    bytes_max: int = Field(
        default=1 << 30, ge=1 << 20, description="most bytes that the model's files take; the oldest are deleted"
    )


class Batching(Strict):
    max_rows: int = Field(ge=2, le=1 << 20, description="most rows in a run, over all its requests")
    max_wait_us: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="longest wait of the first request for others; 0: it takes only requests that wait already",
    )


def _divergence(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise problem(
            f"should be a mapping such as {DivergenceSettings()}; {value} alone was an absolute bound, which is "
            f"{{relative: 0, absolute: {value}}} now"
        )
    return value


class MaxDivergence(Strict):
    relative: float = Field(
        default=DivergenceSettings().relative, ge=0, lt=1, description="largest difference as a share of the fp32 value"
    )
    absolute: float = Field(
        default=DivergenceSettings().absolute, ge=0, description="largest additional difference, for values near 0"
    )


class Model(Strict):
    name: Annotated[str, AfterValidator(values.model_name)] = Field(description="the model's name in requests")
    path: LocalPath = Field(
        min_length=1, description="folder of the numbered version folders, relative to the manifest"
    )
    engine: Literal["auto", "tensorflow", "onnxruntime", "openvino", "fused"] = Field(
        default="auto", description="the engine; auto: chosen by the model's files"
    )
    versions: Annotated[VersionPolicy, BeforeValidator(version_policy)] = Field(
        default=VersionPolicy(), description="the versions to serve"
    )
    role: Literal["baseline", "ab"] = Field(
        default="baseline",
        description="role of versions whose entry has none; baseline: cores of its own; ab: shares the pool",
    )
    slo_p99_ms: float | None = Field(
        default=None,
        gt=0,
        le=SECONDS_MAX * 1000,
        description="objective for the p99 latency; a baseline gets as many cores as it needs for this",
    )
    sticky_key: Annotated[str | None, BeforeValidator(values.metadata_key)] = Field(
        default=None,
        description="request metadata (REST: header) such as user-id; calls with equal values go to the same "
        "version; none: calls are drawn at random",
    )
    missing_arm: Literal["fail", "others"] | None = Field(
        default=None,
        description="calls for an unavailable version that has traffic or a label; fail: they fail; others: "
        "other versions "
        "take them; none: calls by label fail, calls by split go to others, and `status` says so",
    )
    pool_weight: float = Field(
        default=1.0, ge=0.01, le=1000, description="weight of each `ab` version's share of the pool"
    )
    sessions: Annotated[AutoOrCount, AfterValidator(values.thread_count)] = Field(
        default=None, description="session threads of a version; auto: one for each of its cores"
    )
    threads_per_session: int = Field(default=1, ge=1, le=256, description="number of threads for one request")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="fp32",
        description="fp32; bf16; int8: tables of fused plans in int8, all else in fp32; auto: bf16 if the "
        "processor has "
        "it and outputs stay within max_divergence on a thousand rows",
    )
    max_divergence: Annotated[MaxDivergence, BeforeValidator(_divergence)] = Field(
        default_factory=MaxDivergence,
        description="{relative, absolute}: how far bf16 outputs may be from fp32 for auto to choose bf16",
    )
    queue: Queue = Field(default_factory=Queue, description="{capacity, timeout_ms}: the queue of each version")
    dispatch: Literal["shared_queue", "round_robin"] = Field(
        default="shared_queue",
        description="shared_queue: idle sessions take the next request; round_robin: each session gets requests "
        "in turn",
    )
    batching: Batching | None = Field(
        default=None, description="{max_rows, max_wait_us}: run queued requests of one signature together; none: off"
    )
    tensor_content: bool = Field(
        default=False, description="true: answers have numbers as tensor_content, which costs less than *_val"
    )
    request_log: RequestLog | None = Field(
        default=None, description="{folder, percent, bytes_max}: keep a sample of calls as TFRecords; none: off"
    )
    op_libraries: list[LocalPath] = Field(default_factory=list, description="paths of TensorFlow custom-op libraries")
    saved_model_tags: Annotated[list[Name], Field(min_length=1)] = Field(
        default=["serve"], description="tags of the SavedModel's graph to load"
    )
    signature_method_name_check: bool = Field(
        default=False, description="true: Classify and Regress need a signature with the matching `method_name`"
    )
    load_timeout_s: float = Field(
        default=600.0, gt=0, le=SECONDS_MAX, description="seconds after which a load counts as failed"
    )
    run_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=SECONDS_MAX,
        description="seconds after which a run counts as endless, and its worker is restarted",
    )
    memory_bytes_max: int | None = Field(
        default=None, ge=64 * 1024 * 1024, description="most memory that a worker may allocate; none: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _hand_down_the_role(cls, value: Any) -> Any:
        """Listed versions without a role get the model's."""
        if not isinstance(value, dict) or value.get("role") != "ab" or not isinstance(value.get("versions"), list):
            return value
        entries = [{"role": "ab", **entry} if isinstance(entry, dict) else entry for entry in value["versions"]]
        return {**value, "versions": entries}


class Document(Strict):
    listen: Listen = Field(default_factory=Listen)
    host: Host = Field(default_factory=Host)
    models: list[Model] = Field(default_factory=list)


def known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand beside the unknown key at `location`."""
    parents: dict[tuple[str, ...], type[BaseModel]] = {
        (): Document,
        ("listen",): Listen,
        ("listen", "traces"): Traces,
        ("listen", "tls"): Tls,
        ("listen", "auth"): Auth,
        ("listen", "auth", "jwt"): Jwt,
        ("listen", "limits"): Limits,
        ("host",): Host,
        ("models",): Model,
        ("models", "queue"): Queue,
        ("models", "batching"): Batching,
        ("models", "max_divergence"): MaxDivergence,
        ("models", "request_log"): RequestLog,
        ("models", "versions"): ListedVersion,
    }
    names = tuple(part for part in location[:-1] if isinstance(part, str))
    return sorted(parents[names].model_fields)


def to_model_settings(model: Model, base: Path) -> ModelSettings:
    """The validated model; its paths are relative to `base`."""
    apart = ("path", "op_libraries", "saved_model_tags", "queue", "batching", "request_log", "max_divergence")
    plain = {name: getattr(model, name) for name in Model.model_fields if name not in apart}
    log = model.request_log
    return ModelSettings(
        **plain,
        path=base / model.path,
        op_libraries=tuple(str(base / library) for library in model.op_libraries),
        saved_model_tags=tuple(sorted(set(model.saved_model_tags))),
        queue=QueueSettings(**model.queue.model_dump()),
        max_divergence=DivergenceSettings(**model.max_divergence.model_dump()),
        batching=None if model.batching is None else BatchingSettings(**model.batching.model_dump()),
        request_log=None if log is None else RequestLogSettings(**{**log.model_dump(), "folder": base / log.folder}),
        labels=tuple((entry.label, entry.version) for entry in model.versions.listed if entry.label is not None),
    )
