"""The routing table: what the supervisor tells the gateways, and how a request finds its version in it."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corelane.processor.channel.methods import Assignment
from corelane.processor.errors import InvalidRequest, ModelNotFound, Unavailable
from corelane.processor.percentages import percent

# Powers of ten that the differences of shadows' answers are counted by.
DIFFERENCE_POWERS = range(-7, 3)
_ERROR_MAX = 500  # of a load's error that a caller is told


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRoute:
    """A version as the gateways know it. `instance` is its serving worker's number, None if it has none; `channel` is
    where that worker's memory is; `slots` is how many requests it can hold, waiting and running. `loading`: it is on
    its way to be served for the first time; `error` is why it is not there yet, or will not be."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRoute:
    """Where and how many of a model's calls are logged: a percentage, in files of `bytes_max` together."""

    folder: str
    percent: float
    bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    name: str
    versions: tuple[VersionRoute, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    sticky_key: str | None = None  # the request metadata that the split is sticky by
    missing_arm: str | None = None  # whether calls of an arm that is not there "fail" or go to "others"
    problem: str = ""  # why there are no versions
    loading: bool = False  # nobody has looked yet which there are
    log: LogRoute | None = None

    @property
    def shadows(self) -> list[VersionRoute]:
        """Versions that get copies of the others' calls."""
        return [route for route in self.versions if route.shadow is not None and route.instance is not None]

    def find(
        self,
        version: int | None,
        label: str | None,
        key: str | None = None,
        draw: Callable[[], float] = random.random,
        alive: Callable[[VersionRoute], bool] = lambda route: route.instance is not None,
    ) -> tuple[VersionRoute, Assignment]:
        """The version that answers, and why: the one named, the one labelled, else by the traffic split among those
        that can answer now (among all, if a missing arm is to fail), else the highest of them. Equal keys get equal
        versions, as long as the split and those that can answer are the same; without a key, it is drawn.

        ModelNotFound if it is not served, Unavailable if it is loading or restarting, InvalidRequest for an unknown
        label."""
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
            route = next((route for route in self.versions if route.version == version), None)
            if route is not None and alive(route):
                return route, assignment
            if route is not None and (route.restarting or (route.instance is not None and not route.loading)):
                raise Unavailable(f"version {version} of model {self.name} is restarting")
            if self.loading or (route is not None and route.loading):
                why = _because(route.error) if route is not None else ""
                raise Unavailable(f"version {version} of model {self.name} is still loading{why}")
            why = _failures([route] if route is not None else [])
            raise ModelNotFound(f"Servable not found for request: Specific({self.name}, {version}){why}")
        serving = [route for route in self.versions if alive(route) and route.shadow is None]
        if serving:
            point = draw if key is None else lambda: self._point_of(key)
            if self.missing_arm != "fail":
                return _split(serving, point, key is not None)
            arms = [route for route in self.versions if route in serving or (route.traffic and route.shadow is None)]
            route, assignment = _split(arms, point, key is not None)
            if route not in serving:
                raise Unavailable(
                    f"version {route.version} of model {self.name}, with {percent(route.traffic or 0)} % of its calls, "
                    f"is not available{_because(route.error)}"
                )
            return route, assignment
        if any(route.restarting or (route.instance is not None and not route.loading) for route in self.versions):
            raise Unavailable(f"model {self.name} is restarting")
        loading = [route for route in self.versions if route.loading and route.shadow is None]
        if self.loading or loading:
            why = _because(loading[-1].error) if loading else ""
            raise Unavailable(f"model {self.name} is still loading{why}")
        why = _failures(self.versions) or (f" ({self.problem[:_ERROR_MAX]})" if self.problem else "")
        raise ModelNotFound(f"Servable not found for request: Latest({self.name}){why}")

    def _point_of(self, key: str) -> float:
        """Where a key lies in [0, 1): evenly, and for each model anew, so that two experiments do not go together."""
        digest = hashlib.blake2b(key.encode(), digest_size=7, key=self.name.encode()[:64]).digest()
        return int.from_bytes(digest) / (1 << 56)


def _because(error: str) -> str:
    return f": {error[:_ERROR_MAX]}" if error else ""


def _failures(versions: Sequence[VersionRoute]) -> str:
    """Why the highest version that failed is not served, if one did."""
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
