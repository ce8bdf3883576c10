"""Facts about versions for KServe's protocol, from the supervisor to gateways: configurations and statistics."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """`count` runs that took `ns` together."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatistics:
    """Statistics of one version since the server started, over all its workers. Inferences are all calls that run a
    signature, shadows' copies among them.

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
    policy: Literal["latest", "all", "listed"]
    latest: int
    listed: tuple[int, ...]
