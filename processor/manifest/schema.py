"""The manifest as people write it: every key, its type, default and meaning. Unknown keys are errors.

The table of keys in docs/manifest.md is checked against this module.
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
from corelane.processor.manifest.words import problem


class Tls(Strict):
    certificate: LocalPath = Field(description="the server's certificate and those that lead to its authority, in PEM")
    key: LocalPath = Field(description="its private key, in PEM")
    client_ca: LocalPath | None = Field(
        default=None, description="mutual TLS: clients need a certificate that this authority signed; none: anybody"
    )

    def to_settings(self, base: Path) -> TlsSettings:
        return TlsSettings(
            certificate=base / self.certificate,
            key=base / self.key,
            client_ca=None if self.client_ca is None else base / self.client_ca,
        )


class Jwt(Strict):
    key: LocalPath = Field(description="file of the public key in PEM, or of the shared secret")
    algorithms: list[str] = Field(default=["RS256"], min_length=1, description="that tokens may be signed with")
    issuer: str | None = Field(default=None, description="who must have made them")
    audience: str | None = Field(default=None, description="whom they must be for")


class Auth(Strict):
    api_keys: LocalPath | None = Field(
        default=None,
        description="a file: on each line a client and its key, or sha256:DIGEST; read when it changes",
    )
    jwt: Jwt | None = Field(default=None, description="JSON Web Tokens; the subject is the client")
    managers: list[str] = Field(default_factory=list, description="clients that may load, unload and reload models")

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
        description="an OpenTelemetry collector, such as http://host:4318/v1/traces"
    )
    percent: float = Field(default=1.0, ge=0, le=100, description="of the calls whose client does not say")


class Limits(Strict):
    requests_per_s: float | None = Field(
        default=None, gt=0, le=1e9, description="of one client at one gateway; none: any"
    )
    in_flight: int | None = Field(default=None, ge=1, description="of one client at one gateway; none: any")


class Listen(Strict):
    grpc: Address = Field(default=ListenSettings().grpc, description="where clients call")
    grpc_socket: LocalPath | None = Field(
        default=None, description="a Unix socket where clients call, too; none: no such"
    )
    http: Annotated[str | None, BeforeValidator(values.address_or_none)] = Field(
        default=ListenSettings().http, description="where clients call by REST; none: nowhere"
    )
    admin: Address = Field(
        default=ListenSettings().admin, description="where `status` and `apply` call; keep it on loopback"
    )
    page_actions: bool = Field(
        default=False,
        description="true: the page of the admin port promotes, splits and rolls back, too; with auth for managers by "
        "their key or token, without only where admin is on loopback",
    )
    message_bytes_max: int = Field(
        default=ListenSettings().message_bytes_max,
        ge=1024,
        le=MESSAGE_BYTES_MAX,
        description="largest request or response",
    )
    connections_max: AutoOrCount = Field(
        default=None, description="clients' connections to each gateway; auto: by the descriptors that it may have"
    )
    http_idle_s: float = Field(
        default=ListenSettings().http_idle_s,
        ge=1,
        le=SECONDS_MAX,
        description="how long a REST connection without a request stays open; longer than a load balancer keeps it",
    )
    grpc_ping_interval_s: float = Field(
        default=ListenSettings().grpc_ping_interval_s,
        ge=0.1,
        le=SECONDS_MAX,
        description="how often a gRPC client may send keepalive pings, with or without calls; one that does so more "
        "often is disconnected",
    )
    grpc_compression: Literal["none", "gzip", "deflate"] = Field(
        default="none", description="of answers; requests may come compressed in any case"
    )
    metrics_path: Annotated[str | None, BeforeValidator(values.url_path_or_none)] = Field(
        default=ListenSettings().metrics_path,
        description="where Prometheus reads on the REST port; none: on the admin port only",
    )
    access_log: Literal["none", "errors", "all"] = Field(
        default="none", description="a line for each call, or for each that failed, with its x-request-id"
    )
    traces: Traces | None = Field(default=None, description="OpenTelemetry, a span a call; none: off, and free")
    tls: Tls | None = Field(default=None, description="for gRPC and REST, files read again when they change; none: off")
    auth: Auth | None = Field(default=None, description="who may call; none: anybody")
    limits: Limits | None = Field(default=None, description="how much one client may call; none: any")

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
    cores: AutoOrCount = Field(default=None, description="cores to use; auto: all the process may use")
    reserved_cores: AutoOrCount = Field(
        default=None, description="cores for gateways and the system; auto: one in eight, more as they need"
    )
    smt: Literal["together", "free"] = Field(
        default="together",
        description="together: sessions run on all hardware threads of a core; free: on the first, its siblings idle",
    )
    scheduler: Literal["auto", "disabled"] = Field(
        default="auto", description="auto: versions get cores by cost and traffic; disabled: sessions run on any core"
    )
    gateways: Annotated[AutoOrCount, AfterValidator(values.thread_count)] = Field(
        default=None, description="gateway processes; auto: one for every 8 cores, two at least"
    )
    drain_s: float = Field(
        default=HostSettings().drain_s,
        gt=0,
        le=SECONDS_MAX,
        description="longest wait for accepted requests at a stop",
    )
    # YAML 1.1 reads a bare off as false.
    sandbox: Annotated[
        Literal["auto", "off", "required"], BeforeValidator(lambda value: "off" if value is False else value)
    ] = Field(
        default="auto", description="of workers: what the kernel has; off: none; required: no load without all of it"
    )
    worker_user: Annotated[str | None, BeforeValidator(values.user)] = Field(
        default=None, description="workers run as this user; only where the server runs as root; none: as the server"
    )
    ready: Literal["all", "any"] = Field(
        default="all",
        description="when probes hear that the server is ready: once all models have a version that answers, or any "
        "has one and nothing is on its way",
    )


class Queue(Strict):
    capacity: int = Field(
        default=QueueSettings().capacity,
        ge=1,
        le=QUEUE_CAPACITY_MAX,
        description="requests that may wait for one version",
    )
    timeout_ms: float = Field(
        default=QueueSettings().timeout_ms,
        gt=0,
        le=SECONDS_MAX * 1000,
        description="longest a request may wait to run",
    )


class RequestLog(Strict):
    folder: Annotated[LocalPath, Field(min_length=1)] = Field(description="where files go; relative to the manifest")
    percent: float = Field(default=1.0, gt=0, le=100, description="of the model's answered calls")
    bytes_max: int = Field(default=1 << 30, ge=1 << 20, description="that the model's files take; the oldest go")


class Batching(Strict):
    max_rows: int = Field(ge=2, le=1 << 20, description="rows that run together at most, over all requests")
    max_wait_us: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="how long the first request waits for more; 0: only for what waits already",
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
        default=DivergenceSettings().relative, ge=0, lt=1, description="share of the fp32 value that it may move by"
    )
    absolute: float = Field(
        default=DivergenceSettings().absolute, ge=0, description="what it may move by besides, for values near 0"
    )


class Model(Strict):
    name: Annotated[str, AfterValidator(values.model_name)] = Field(description="what requests call it")
    path: LocalPath = Field(min_length=1, description="folder of numbered version folders; relative to the manifest")
    engine: Literal["auto", "tensorflow", "onnxruntime", "openvino", "fused"] = Field(
        default="auto", description="what runs it; auto: read from the files"
    )
    versions: Annotated[VersionPolicy, BeforeValidator(version_policy)] = Field(
        default=VersionPolicy(), description="which versions to serve"
    )
    role: Literal["baseline", "ab"] = Field(
        default="baseline",
        description="role of the versions, but of those whose entry has one: baseline has cores of its own, ab shares "
        "the pool",
    )
    slo_p99_ms: float | None = Field(
        default=None,
        gt=0,
        le=SECONDS_MAX * 1000,
        description="latency objective; baselines get the cores that it takes",
    )
    sticky_key: Annotated[str | None, BeforeValidator(values.metadata_key)] = Field(
        default=None,
        description="request metadata (REST: header) that a split is sticky by, such as user-id; none: calls are drawn",
    )
    missing_arm: Literal["fail", "others"] | None = Field(
        default=None,
        description="calls of a version with traffic or a label that is not available: fail, or go to the others; "
        "none: those of a label fail, those of a split go to the others, and `status` says so",
    )
    pool_weight: float = Field(
        default=1.0, ge=0.01, le=1000, description="share of the pool of each `ab` version, beside the others'"
    )
    sessions: Annotated[AutoOrCount, AfterValidator(values.thread_count)] = Field(
        default=None, description="session threads of a version; auto: one for each core that it gets"
    )
    threads_per_session: int = Field(default=1, ge=1, le=256, description="threads that one request may use")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="fp32",
        description="fp32, bf16, int8 (tables of fused plans, the rest in fp32), or auto: bf16 where the processor has "
        "it and max_divergence holds on a thousand rows",
    )
    max_divergence: Annotated[MaxDivergence, BeforeValidator(_divergence)] = Field(
        default_factory=MaxDivergence,
        description="{relative, absolute}: how far outputs may be from fp32 with which auto takes bf16",
    )
    queue: Queue = Field(default_factory=Queue, description="the requests that wait")
    dispatch: Literal["shared_queue", "round_robin"] = Field(
        default="shared_queue", description="idle sessions pull, or requests are dealt out"
    )
    batching: Batching | None = Field(
        default=None, description="{max_rows, max_wait_us}: run queued requests of one signature together; none: off"
    )
    tensor_content: bool = Field(
        default=False, description="numbers in answers as tensor_content, which costs less than *_val"
    )
    request_log: RequestLog | None = Field(
        default=None, description="{folder, percent, bytes_max}: keep sampled calls as TFRecords; none: off"
    )
    op_libraries: list[LocalPath] = Field(default_factory=list, description="TensorFlow custom-op libraries")
    saved_model_tags: Annotated[list[Name], Field(min_length=1)] = Field(
        default=["serve"], description="the tags of the graph to load, of those that a SavedModel has"
    )
    signature_method_name_check: bool = Field(
        default=False, description="true: Classify and Regress only by signatures whose `method_name` says so"
    )
    load_timeout_s: float = Field(
        default=600.0, gt=0, le=SECONDS_MAX, description="a load that takes longer has failed"
    )
    run_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=SECONDS_MAX,
        description="a request that runs for longer is taken for one that never ends: its worker is restarted",
    )
    memory_bytes_max: int | None = Field(
        default=None, ge=64 * 1024 * 1024, description="most memory a worker may allocate; none: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _hand_down_the_role(cls, value: Any) -> Any:
        """To the listed versions that have none of their own."""
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
