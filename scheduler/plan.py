"""The core allocation: who has which cores, and why."""

from dataclasses import dataclass
from typing import Literal

from corelane.scheduler.demand import Demand
from corelane.scheduler.queueing import Prediction

Smt = Literal["together", "free"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPlan:
    """`cpus` are the version's own, or the pool's if it shares. Each session has those of `sessions`. `cores_short` is
    how many more it takes to meet the SLO: 0 if it is met or there is none, None if no number of cores will do."""

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
class Plan:
    """`problems` are sentences: SLOs that cannot be met, roles that the host has too few cores for."""

    reserve: tuple[int, ...]
    pool: tuple[int, ...]
    versions: tuple[VersionPlan, ...]
    problems: tuple[str, ...] = ()
    reserve_why: str = ""
    pool_why: str = ""

    def version(self, name: str) -> VersionPlan | None:
        return next((version for version in self.versions if version.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`reserved_cores`: hardware threads for gateways and the system, None to choose by `gateway_load`, the hardware
    threads that they would keep busy. `smt`: whether sessions run on all hardware threads of a core ("together") or on
    the first only ("free"); in both, a core has one owner."""

    reserved_cores: int | None = None
    gateway_load: float = 0.0
    smt: Smt = "together"
