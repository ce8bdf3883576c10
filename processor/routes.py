"""The routing table: what the supervisor tells the gateways, and how a request finds its version in it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from processor.errors import InvalidRequest, ModelNotFound, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRoute:
    """A version as the gateways know it. `instance` is its serving worker's number, None if it has none; `channel` is
    where that worker's memory is; `slots` is how many requests it can hold, waiting and running."""

    version: int
    state: str
    error: str = ""
    restarting: bool = False
    traffic: float | None = None
    instance: int | None = None
    channel: str = ""
    slots: int = 0
    queue_capacity: int = 0
    queue_timeout_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    name: str
    versions: tuple[VersionRoute, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()

    def find(
        self,
        version: int | None,
        label: str | None,
        draw: Callable[[], float] = random.random,
        alive: Callable[[VersionRoute], bool] = lambda route: route.instance is not None,
    ) -> VersionRoute:
        """The version that answers: the one named, the one labelled, else by the traffic split among those that can
        answer now, else the highest of them.

        ModelNotFound if it is not served, Unavailable if it is restarting, InvalidRequest for an unknown label."""
        if label is not None:
            labelled = dict(self.labels)
            if label not in labelled:
                raise InvalidRequest(f"Unrecognized servable version label: {label}")
            version = labelled[label]
        if version is not None:
            route = next((route for route in self.versions if route.version == version), None)
            if route is not None and alive(route):
                return route
            if route is not None and (route.restarting or route.instance is not None):
                raise Unavailable(f"version {version} of model {self.name} is restarting")
            raise ModelNotFound(f"Servable not found for request: Specific({self.name}, {version})")
        serving = [route for route in self.versions if alive(route)]
        if serving:
            return _split(serving, draw)
        if any(route.restarting or route.instance is not None for route in self.versions):
            raise Unavailable(f"model {self.name} is restarting")
        raise ModelNotFound(f"Servable not found for request: Latest({self.name})")


def _split(serving: list[VersionRoute], draw: Callable[[], float]) -> VersionRoute:
    weights = [route.traffic or 0.0 for route in serving]
    total = sum(weights)
    if total == 0:
        return max(serving, key=lambda route: route.version)
    point = draw() * total
    for route, weight in zip(serving, weights, strict=True):
        point -= weight
        if point < 0:
            return route
    return serving[weights.index(max(weights))]


def to_message(models: list[ModelRoute]) -> list[dict[str, Any]]:
    return [
        {
            "name": model.name,
            "labels": model.labels,
            "versions": [
                {name: getattr(route, name) for name in VersionRoute.__dataclass_fields__} for route in model.versions
            ],
        }
        for model in models
    ]


def from_message(models: list[dict[str, Any]]) -> dict[str, ModelRoute]:
    return {
        model["name"]: ModelRoute(
            name=model["name"],
            labels=tuple((label, version) for label, version in model["labels"]),
            versions=tuple(VersionRoute(**route) for route in model["versions"]),
        )
        for model in models
    }
