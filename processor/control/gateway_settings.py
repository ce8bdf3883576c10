"""What a gateway is set to. Its parts are sections of the manifest's `listen`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Protocol = Literal["grpc", "http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """Files in PEM. With `client_ca`, clients must have a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """`key`: a public key in PEM, or a shared secret."""

    key: Path
    algorithms: tuple[str, ...] = ("RS256",)
    issuer: str | None = None
    audience: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    api_keys: Path | None = None
    jwt: JwtSettings | None = None
    managers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """Of each client, at each gateway."""

    requests_per_s: float | None = None
    in_flight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesSettings:
    """`percent` of the calls whose client does not trace them itself."""

    endpoint: str
    percent: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """`address` is "host:port", or "unix:path" for gRPC. `request_timeout_s` is for calls without a deadline.
    `connections_max` is None where descriptors are the bound, `metrics_path` where metrics are not served."""

    protocol: Protocol
    address: str
    request_timeout_s: float
    message_bytes_max: int
    compression: str = "none"  # of gRPC's answers: none, gzip or deflate
    metrics_path: str | None = None
    connections_max: int | None = None
    http_idle_s: float
    grpc_ping_interval_s: float
    access_log: str = "none"  # none, errors or all
    traces: TracesSettings | None = None
    tls: TlsSettings | None = None
    auth: AuthSettings | None = None
    limits: LimitsSettings | None = None
