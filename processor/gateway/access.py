"""Who may call, and how much: API keys, JWTs and limits by client, for gRPC and REST alike.

A client is who it proves to be, else where it calls from. Limits are a gateway's own: connections are spread over the
gateways, and a client with many of them may have as many times the limit as there are gateways.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from corelane.processor.control.gateway_settings import AuthSettings, JwtSettings, LimitsSettings
from corelane.processor.errors import Overloaded, PermissionRefused, StartError, Unauthenticated
from corelane.processor.system import descriptors

_logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_CLIENTS_MAX = 10_000
_SHA256 = "sha256:"

Headers = Callable[[str], str | None]


@dataclass(slots=True)
class _Client:
    """Guarded by Access._lock."""

    in_flight: int = 0
    tokens: float = 0.0
    filled_s: float = field(default_factory=time.monotonic)


class Access:
    """Thread safety: every method from any thread."""

    def __init__(
        self,
        auth: AuthSettings | None = None,
        limits: LimitsSettings | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """By `listen.auth` and `listen.limits`. StartError if keys cannot be read."""
        auth, limits = auth or AuthSettings(), limits or LimitsSettings()
        self._keys = _Keys(auth.api_keys) if auth.api_keys is not None else None
        self._tokens = _Tokens(auth.jwt) if auth.jwt is not None else None
        self._managers = frozenset(auth.managers)
        self._per_s = limits.requests_per_s
        self._in_flight_max = limits.in_flight
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is nothing to check."""
        return all(one is None for one in (self._keys, self._tokens, self._per_s, self._in_flight_max))

    def identify(self, headers: Headers, peer: str, *, manages: bool) -> str:
        """The client's name. Unauthenticated without a key or token that is good; PermissionRefused if it `manages`
        models without being a manager."""
        if self._keys is None and self._tokens is None:
            return peer
        name = self._authenticated(headers)
        if manages and name not in self._managers:
            raise PermissionRefused(f"client {name} may not change what is served; see listen.auth.managers")
        return name

    def admit(self, client: str) -> None:
        """Lets a call in, which must be ended by `leave`. Overloaded beyond the client's limits."""
        with self._lock:
            found = self._clients.get(client)
            if found is None:
                self._forget()
                found = self._clients[client] = _Client(tokens=self._burst(), filled_s=self._clock_s())
            if self._in_flight_max is not None and found.in_flight >= self._in_flight_max:
                raise Overloaded(f"client {client} has {found.in_flight} calls under way (listen.limits.in_flight)")
            if self._per_s is not None:
                now_s = self._clock_s()
                found.tokens = min(self._burst(), found.tokens + (now_s - found.filled_s) * self._per_s)
                found.filled_s = now_s
                if found.tokens < 1:
                    raise Overloaded(f"client {client} is over {self._per_s:g} calls a second (listen.limits)")
                found.tokens -= 1
            found.in_flight += 1

    def leave(self, client: str) -> None:
        with self._lock:
            self._clients[client].in_flight -= 1

    def _authenticated(self, headers: Headers) -> str:
        given = headers("x-api-key")
        if given is None:
            scheme, _, rest = (headers("authorization") or "").partition(" ")
            given = rest.strip() if scheme.lower() == "bearer" else None
        if not given:
            raise Unauthenticated("send an API key or a token: `authorization: Bearer ...` or `x-api-key: ...`")
        name = self._keys.name_of(given) if self._keys is not None else None
        if name is None and self._tokens is not None:
            name = self._tokens.name_of(given)
        if name is None:
            raise Unauthenticated("the API key or token is not known, or no longer")
        return name

    def _burst(self) -> float:
        """A second's worth may come at once."""
        return max(1.0, self._per_s or 1.0)

    def _forget(self) -> None:
        """Keeps memory bounded: clients that do nothing go."""
        if len(self._clients) >= _CLIENTS_MAX:
            self._clients = {name: one for name, one in self._clients.items() if one.in_flight}


class _Keys:
    """Lines of a file: a client's name and its key, or `sha256:` and the key's digest. Read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: object = None
        self._looked_s = 0.0
        self._names: dict[bytes, str] = {}
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise StartError(f"listen.auth.api_keys: {path}: {error}") from error

    def name_of(self, key: str) -> str | None:
        self._look()
        digest = hashlib.sha256(key.encode()).digest()
        # The digest says nothing of the key, so that a lookup by it tells nobody how near a guess was.
        return self._names.get(digest)

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._read()
        except (OSError, ValueError) as error:
            _logger.error("the API keys stay as they were: %s: %s", self._path, error)

    def _read(self) -> None:
        stat = self._path.stat()
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if mark == self._mark:
            return
        names: dict[bytes, str] = {}
        with descriptors.reserve():
            text = self._path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if len(words) != 2:
                raise ValueError(f"line {number} should be a name and a key")
            name, key = words
            plain = not key.startswith(_SHA256)
            digest = hashlib.sha256(key.encode()).digest() if plain else bytes.fromhex(key[len(_SHA256) :])
            if len(digest) != 32:
                raise ValueError(f"line {number}: sha256: should be followed by 64 hexadecimal digits")
            names[digest] = name
        self._mark, self._names = mark, names


class _Tokens:
    """JSON Web Tokens, signed by who is trusted; the subject is the client."""

    def __init__(self, settings: JwtSettings) -> None:
        try:
            import jwt
        except ImportError as error:
            raise StartError("listen.auth.jwt needs PyJWT: pip install 'corelane[auth]'") from error
        self._jwt = jwt
        self._settings = settings
        try:
            self._key = settings.key.read_bytes()
        except OSError as error:
            raise StartError(f"listen.auth.jwt.key: {settings.key}: {error.strerror}") from error

    def name_of(self, token: str) -> str | None:
        wanted = ["exp", "sub"]
        try:
            claims = self._jwt.decode(
                token,
                self._key,
                algorithms=list(self._settings.algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options={"require": wanted, "verify_aud": self._settings.audience is not None},
            )
        except self._jwt.PyJWTError:
            return None
        return str(claims["sub"])
