"""The routing table of the gateways: which versions there are, and which of them answers a request."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corelane.processor.channel.methods import Assignment
from corelane.processor.errors import InvalidRequest, ModelNotFound, Unavailable
from corelane.scheduler.numbers import percent

# The powers of ten by which differences of shadows' answers are counted.
DIFFERENCE_POWERS = range(-7, 3)
_ERROR_MAX = 500  # characters of a load's error that callers see


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRoute:
    """A version as the gateways know it. `instance` is the number of the worker that serves it, None without one;
    `channel` is the path of that worker's shared memory; `slots` bounds its requests, waiting and running. `loading`:
    the version has not served yet and will; `error` is why it does not serve yet, or will not."""

    version: int
    state: str
    error: str = ""
    restarting: bool = False
    loading: bool = False
    traffic: float | None = None
    shadow: float | None = None
    instance: int | None = None
    channel: str = ""
    slots: int = 0
    queue_capacity: int = 0
    queue_timeout_ms: float = 0.0

    @property
    def is_between_workers(self) -> bool:
        """Whether the version has served, and its worker cannot answer or is not there."""
        return self.restarting or (self.instance is not None and not self.loading)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRoute:
    """The log of a model's calls: a percentage of them, in files of `bytes_max` together."""

    folder: str
    percent: float
    bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    name: str
    versions: tuple[VersionRoute, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    sticky_key: str | None = None  # the request metadata whose value decides the split
    missing_arm: str | None = None  # calls of an arm that cannot answer "fail" or go to "others"
    problem: str = ""  # the reason if there are no versions
    loading: bool = False  # its folder has not been looked at yet
    log: LogRoute | None = None

    @property
    def shadows(self) -> list[VersionRoute]:
        """The versions that get copies of the others' calls."""
        return [route for route in self.versions if route.shadow is not None and route.instance is not None]

    def find(
        self,
        version: int | None,
        label: str | None,
        key: str | None = None,
        draw: Callable[[], float] = random.random,
        alive: Callable[[VersionRoute], bool] = lambda route: route.instance is not None,
    ) -> tuple[VersionRoute, Assignment]:
        """The version that answers a call, and why: the version that the call names or labels; else one by the traffic
        split; else the highest. The split is among versions that can answer now, or among all if a missing arm is to
        fail. Equal keys get equal versions while the split and the versions that can answer stay the same; without a
        key, the version is drawn.

        ModelNotFound if the version is not served, Unavailable if it is loading or restarting, InvalidRequest for an
        unknown label."""
        assignment = Assignment.NAMED
        if label is not None:
            assignment = Assignment.LABELLED
            labelled = dict(self.labels)
            if label not in labelled:
                raise InvalidRequest(f"Unrecognized servable version label: {label}")
            version = labelled[label]
            if self.missing_arm == "others" and not any(alive(r) for r in self.versions if r.version == version):
                version = None
        if version is not None:
            return self._find_version(version, alive), assignment
        serving = [route for route in self.versions if alive(route) and route.shadow is None]
        if not serving:
            raise self._nothing_serves()
        return self._share(serving, draw if key is None else lambda: self._point_of(key), key is not None)

    def _find_version(self, version: int, alive: Callable[[VersionRoute], bool]) -> VersionRoute:
        route = next((route for route in self.versions if route.version == version), None)
        if route is not None and alive(route):
            return route
        if route is not None and route.is_between_workers:
            raise Unavailable(f"version {version} of model {self.name} is restarting")
        if self.loading or (route is not None and route.loading):
            reason = _because(route.error) if route is not None else ""
            raise Unavailable(f"version {version} of model {self.name} is still loading{reason}")
        reason = _failures([route] if route is not None else [])
        raise ModelNotFound(f"Servable not found for request: Specific({self.name}, {version}){reason}")

    def _share(
        self, serving: list[VersionRoute], draw: Callable[[], float], sticky: bool
    ) -> tuple[VersionRoute, Assignment]:
        """One of the `serving` versions by the split; Unavailable for an arm that is missing and is to fail."""
        if self.missing_arm != "fail":
            return _split(serving, draw, sticky)
        arms = [route for route in self.versions if route in serving or (route.traffic and route.shadow is None)]
        route, assignment = _split(arms, draw, sticky)
        if route not in serving:
            raise Unavailable(
                f"version {route.version} of model {self.name}, with {percent(route.traffic or 0)} % of its calls, "
                f"is not available{_because(route.error)}"
            )
        return route, assignment

    def _nothing_serves(self) -> Unavailable | ModelNotFound:
        """The error of a call that names no version, while no version can answer."""
        if any(route.is_between_workers for route in self.versions):
            return Unavailable(f"model {self.name} is restarting")
        loading = [route for route in self.versions if route.loading and route.shadow is None]
        if self.loading or loading:
            reason = _because(loading[-1].error) if loading else ""
            return Unavailable(f"model {self.name} is still loading{reason}")
        reason = _failures(self.versions) or (f" ({self.problem[:_ERROR_MAX]})" if self.problem else "")
        return ModelNotFound(f"Servable not found for request: Latest({self.name}){reason}")

    def _point_of(self, key: str) -> float:
        """A key's point in [0, 1). Points are spread evenly, and anew for each model, so that two experiments split
        independently."""
        digest = hashlib.blake2b(key.encode(), digest_size=7, key=self.name.encode()[:64]).digest()
        return int.from_bytes(digest) / (1 << 56)


def _because(error: str) -> str:
    return f": {error[:_ERROR_MAX]}" if error else ""


def _failures(versions: Sequence[VersionRoute]) -> str:
    """The reason of the highest version whose load failed; empty without one."""
    failed = [route for route in versions if route.state == "END" and route.error]
    return f" (version {failed[-1].version} failed{_because(failed[-1].error)})" if failed else ""


def _split(serving: list[VersionRoute], draw: Callable[[], float], sticky: bool) -> tuple[VersionRoute, Assignment]:
    weights = [route.traffic or 0.0 for route in serving]
    total = sum(weights)
    if total == 0:
        return max(serving, key=lambda route: route.version), Assignment.HIGHEST
    assignment = Assignment.STICKY if sticky else Assignment.SPLIT
    point = draw() * total
    for route, weight in zip(serving, weights, strict=True):
        point -= weight
        if point < 0:
            return route, assignment
    return serving[weights.index(max(weights))], assignment
