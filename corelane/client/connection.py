"""Where a client calls and how: checked when the client is made."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import grpc

from corelane.processor.errors import InvalidAddress, InvalidRequest

ANSWER_BYTES_MAX = 2**31 - 1
TIMEOUT_S = 60.0  # as the server's own for calls without a deadline
RETRIES = 5
_TIMEOUT_S_MAX = 1e8  # three years: gRPC takes a deadline that is much farther for one that has passed
# gRPC waits this long before it connects anew; its own first wait of a second would outlast our retries.
_RECONNECT_MS, _RECONNECT_MS_MAX = 100, 2000
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS_MAX),
]

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
_SCHEMES_OF_GRPC = ("unix:", "dns:", "ipv4:", "ipv6:")
_METADATA_NAME = re.compile(r"[0-9a-z_.-]+")


class ConnectionOptions(TypedDict, total=False):
    """What `Connection.make` takes beside the address."""

    ca: str | Path | None
    certificate: str | Path | None
    key: str | Path | None
    api_key: str | None
    timeout_s: float | None
    retries: int
    sticky_key: str | None
    fit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`credentials` is None without TLS, `timeout_s` None for calls without a deadline."""

    address: str
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout_s: float | None
    retries: int
    sticky_key: str | None
    fit: bool

    @classmethod
    def make(
        cls,
        address: str,
        *,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        api_key: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
        retries: int = RETRIES,
        sticky_key: str | None = None,
        fit: bool = True,
    ) -> "Connection":
        """With `ca`, the PEM file of the authority that signed the server's certificate, by TLS; `certificate` and
        `key` are this client's own, for mutual TLS. `api_key` may be a JWT. `timeout_s` is for calls that name none,
        None for no limit. `retries` is how often a call that met UNAVAILABLE is tried again, 0 for never. `sticky_key`
        is the manifest's, the metadata that `key=` of a call goes under. Without `fit`, inputs go as they are."""
        credentials = None
        if ca is not None or certificate is not None:
            root, own_key, own = (None if path is None else Path(path).read_bytes() for path in (ca, key, certificate))
            credentials = grpc.ssl_channel_credentials(root, own_key, own)
        if retries < 0:
            raise InvalidRequest(f"retries should be 0 or more, not {retries}")
        if sticky_key is not None:
            metadata_pairs({sticky_key: ""})
        return cls(
            address=checked_address(address),
            credentials=credentials,
            metadata=() if api_key is None else metadata_pairs({"authorization": f"Bearer {api_key}"}),
            timeout_s=checked_timeout(timeout_s),
            retries=retries,
            sticky_key=sticky_key,
            fit=fit,
        )


def channel_of(connection: Connection, library: Any) -> Any:
    """A channel of `grpc`, or of `grpc.aio`."""
    if connection.credentials is None:
        return library.insecure_channel(connection.address, options=CHANNEL_OPTIONS)
    return library.secure_channel(connection.address, connection.credentials, CHANNEL_OPTIONS)


def checked_address(address: str) -> str:
    """The address, if gRPC can call it; InvalidAddress, with what to write, if not."""
    if not isinstance(address, str) or not address or address != address.strip():
        raise InvalidAddress(f'a server\'s address is "host:port", such as "127.0.0.1:8500", not {address!r}')
    if address.startswith(_SCHEMES_OF_GRPC):
        return address
    scheme, separator, location = address.partition("://")
    if separator:
        raise InvalidAddress(
            f'{address!r} is a URL; the client speaks gRPC: write "host:port" without {scheme}://, such as '
            f'"{location.partition("/")[0].partition(":")[0] or "127.0.0.1"}:8500" (the port of `listen.grpc`)'
            + ("; for TLS, name the authority with ca=" if scheme == "https" else "")
        )
    if "/" in address:
        raise InvalidAddress(f'{address!r} has a path; write "host:port"')
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s]+):(\d{1,5})", address)
    if match is None:
        if re.fullmatch(r"[^:\[\]\s]+", address):
            raise InvalidAddress(f'{address!r} has no port; write "{address}:8500" (the port of `listen.grpc`)')
        raise InvalidAddress(f'{address!r} is no "host:port"; an IPv6 host stands in brackets: "[::1]:8500"')
    if not 1 <= int(match[2]) <= 65535:
        raise InvalidAddress(f"{address!r} has no such port: ports go from 1 to 65535")
    return address


def checked_timeout(timeout_s: float | None) -> float | None:
    if timeout_s is None or timeout_s == math.inf:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise InvalidRequest(f"timeout_s should be seconds, 0 or more, not {timeout_s!r}")
    return min(timeout_s, _TIMEOUT_S_MAX)


def metadata_pairs(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """gRPC's form; InvalidRequest for what gRPC would not send."""
    pairs = tuple(metadata.items() if isinstance(metadata, Mapping) else metadata)
    for name, value in pairs:
        if not isinstance(name, str) or not _METADATA_NAME.fullmatch(name):
            raise InvalidRequest(f"metadata {name!r}: names are small letters, digits, and any of _ . -")
        if name.endswith("-bin"):
            if not isinstance(value, bytes):
                raise InvalidRequest(f'metadata "{name}": the value of a name that ends in -bin is bytes')
        elif not isinstance(value, str) or not (value.isascii() and (value.isprintable() or not value)):
            raise InvalidRequest(f'metadata "{name}": {value!r} is not printable ASCII, which is all that gRPC sends')
    return pairs
