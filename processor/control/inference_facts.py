"""What the supervisor tells gateways of versions for KServe's protocol: configurations and statistics, and how these
travel."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How often something took time, and how much together."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatistics:
    """Of one version since the server started, over all its workers. Inferences are all calls that run a signature,
    shadows' copies among them.

    `last_ms` is when the last inference ended, in milliseconds since 1970; 0 without any. `queue` is of everything that
    a session took. `compute_input` and `compute_output` are what reading and writing tensors took, of requests that
    stayed out of Python; `compute_infer` is the rest of the requests' time on sessions."""

    model: str
    version: int
    last_ms: int
    executions: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionConfiguration:
    """How a version is served. `policy` is latest, all or listed, with the number of the latest or the versions that
    are listed. `batch_rows_max` is 0 where requests do not share runs."""

    engine: str
    sessions: int
    batch_rows_max: int
    batch_wait_us: float
    policy: str
    latest: int
    listed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuestion:
    """Of all models, of one, or of one version."""

    model: str | None = None
    version: int | None = None


def encode(fact: Any) -> str:
    """One of this module's values as text, or a list of them."""
    return json.dumps([dataclasses.asdict(one) for one in fact] if isinstance(fact, list) else dataclasses.asdict(fact))


def configuration_of(text: str) -> VersionConfiguration:
    plain = json.loads(text)
    return VersionConfiguration(**{**plain, "listed": tuple(plain["listed"])})


def question_of(text: str) -> StatisticsQuestion:
    return StatisticsQuestion(**json.loads(text))


def statistics_of(text: str) -> list[VersionStatistics]:
    return [VersionStatistics(**{name: _value(value) for name, value in plain.items()}) for plain in json.loads(text)]


def _value(value: Any) -> Any:
    return Duration(**value) if isinstance(value, dict) else value
