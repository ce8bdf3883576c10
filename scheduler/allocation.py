"""The core allocation: the cores of every version, of the pool and of the gateways, each with its reason."""

from dataclasses import dataclass
from typing import Literal

from corelane.scheduler.demand import Demand
from corelane.scheduler.queueing import Prediction

Smt = Literal["together", "free"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionAllocation:
    """The cores of one version: its own, or the pool's if it `shares`. `sessions` has the cores of each session.
    `cores_short` counts the cores missing to meet the SLO: 0 if the version meets it or has none, None if no number of
    cores is enough."""

    demand: Demand
    shares: bool
    cpus: tuple[int, ...]
    sessions: tuple[tuple[int, ...], ...]
    prediction: Prediction
    cores_short: int | None
    why: str

    @property
    def name(self) -> str:
        return self.demand.name

    @property
    def meets_slo(self) -> bool:
        return self.demand.slo_p99_ms is None or self.prediction.p99_ms <= self.demand.slo_p99_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreAllocation:
    """The cores of a host, dealt out. `problems` are sentences: SLOs that cannot be met, roles that need more cores."""

    reserve: tuple[int, ...]
    pool: tuple[int, ...]
    versions: tuple[VersionAllocation, ...]
    problems: tuple[str, ...] = ()
    reserve_why: str = ""
    pool_why: str = ""

    def version(self, name: str) -> VersionAllocation | None:
        return next((version for version in self.versions if version.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`reserved_cores` counts hardware threads for gateways and the system; None chooses it by `gateway_load`, the
    number that gateways keep busy. With `smt` "together" sessions run on all hardware threads of a core, with "free" on
    the first only. A core has one owner either way."""

    reserved_cores: int | None = None
    gateway_load: float = 0.0
    smt: Smt = "together"
