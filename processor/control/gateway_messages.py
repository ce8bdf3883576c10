"""What the supervisor and a gateway tell each other, but for questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from corelane.processor.control.gateway_settings import GatewaySettings
from corelane.processor.control.routes import ModelRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStart:
    """The first message to a gateway. `owner` is its number on the channels."""

    settings: GatewaySettings
    owner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """To a gateway. A later table has a higher `epoch`. `unready` is why probes hear that the server is not ready, and
    empty if they hear that it is."""

    epoch: int
    models: tuple[ModelRoute, ...]
    unready: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """To a gateway: take no more calls, answer those under way within `grace_s`, and end."""

    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a gateway: it listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTaken:
    """From a gateway: it routes by table `epoch`. `problems` are the workers that it cannot reach, and why."""

    epoch: int
    problems: Mapping[int, str]


class CountKind(StrEnum):
    """What a gateway counts; of each, which fields of Count say what."""

    REFUSED = "refused"  # calls that found no version: `code`
    FAILED_NS = "failed_ns"  # nanoseconds that failed inferences took: `version`
    LAST_MS = "last_ms"  # when the last inference ended, milliseconds since 1970: `version`
    SHADOW = "shadow"  # copies for versions on trial: `version`, and `outcome`, what came of them
    DIFFERENCE = "difference"  # answers to copies: `version`, and `outcome`, the power of ten that they differ by
    LOG = "log"  # calls drawn for the request log: `outcome`


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """`number` of one kind since the last message. `model` is empty for one that is not known."""

    kind: CountKind
    model: str
    number: int
    version: int = 0
    code: int = 0
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """From a gateway: what no channel can count."""

    counts: tuple[Count, ...]
