"""What no single value of a manifest is at fault for: two that may not be the same, or not go together.

It is read off the values as they are written, so that it is told together with faults elsewhere."""

import itertools
from collections.abc import Iterator
from typing import Any

from corelane.processor.errors import ManifestProblem
from corelane.processor.manifest.settings import MESSAGE_BYTES_MAX, QUEUE_CAPACITY_MAX, ListenSettings, QueueSettings
from corelane.processor.manifest.text.tree import Location, Tree
from corelane.processor.system.ports import is_loopback

_ADDRESSABLE_BYTES = 1 << 45
_PORTS = ("grpc", "http", "admin")
_EVERYWHERE = {"0.0.0.0", "[::]", "::", "*"}
_LOOPBACK = {"localhost", "127.0.0.1"}


def problems(tree: Tree) -> list[ManifestProblem]:
    return [*_equal_names(tree), *_equal_ports(tree), *_queues_too_large(tree), *_anybody_acts(tree)]


def _models(tree: Tree) -> Iterator[tuple[Location, dict[str, Any]]]:
    models = tree.value(("models",))
    if isinstance(models, list):
        yield from ((("models", index), model) for index, model in enumerate(models) if isinstance(model, dict))


def _equal_names(tree: Tree) -> Iterator[ManifestProblem]:
    seen: dict[str, Location] = {}
    for location, model in _models(tree):
        name, here = model.get("name"), (*location, "name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield tree.problem(here, f"{name} is also the name of the model at line {tree.place(seen[name]).line}")
        seen.setdefault(name, here)


def _equal_ports(tree: Tree) -> Iterator[ManifestProblem]:
    """Two servers at one address: the second would not start, or take half of the first's clients."""
    addresses = {}
    for key in _PORTS:
        location = ("listen", key)
        address = tree.value(location) if tree.has(location) else getattr(ListenSettings(), key)
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        # Port 0 is any that is free.
        if port.isdecimal() and port.strip("0"):
            addresses[key] = (host, port.lstrip("0"))
    for first, second in itertools.combinations(addresses, 2):
        if not _meet(addresses[first], addresses[second]):
            continue
        # The problem stands at what is written, and names the other one.
        here, there = (second, first) if tree.has(("listen", second)) else (first, second)
        if not tree.has(("listen", here)):
            continue
        written = tree.has(("listen", there))
        other = f"at line {tree.place(('listen', there)).line}" if written else "by its default"
        port = addresses[here][1]
        yield tree.problem(("listen", here), f"port {port} is also that of listen.{there}, {other}; each needs its own")


def _meet(first: tuple[str, str], second: tuple[str, str]) -> bool:
    if first[1] != second[1]:
        return False
    hosts = {first[0], second[0]}
    return len(hosts) == 1 or bool(hosts & _EVERYWHERE) or hosts <= _LOOPBACK


def _queues_too_large(tree: Tree) -> Iterator[ManifestProblem]:
    """Every request that waits has an address for the largest message; there are many, but not without end."""
    message_bytes_max = _count(
        tree.value(("listen", "message_bytes_max")), ListenSettings().message_bytes_max, MESSAGE_BYTES_MAX
    )
    capacity_max = _ADDRESSABLE_BYTES // (2 * message_bytes_max)
    for location, _ in _models(tree):
        here = (*location, "queue", "capacity")
        capacity = _count(tree.value(here), QueueSettings().capacity, QUEUE_CAPACITY_MAX)
        if capacity > capacity_max:
            yield tree.problem(
                here,
                f"{capacity} messages of listen.message_bytes_max ({message_bytes_max}) cannot be addressed; "
                f"at most {capacity_max} can",
            )


def _anybody_acts(tree: Tree) -> Iterator[ManifestProblem]:
    """The page may change whose calls go where only for managers, or for who is on this host."""
    here = ("listen", "page_actions")
    if tree.value(here) is not True:
        return
    admin = tree.value(("listen", "admin")) if tree.has(("listen", "admin")) else ListenSettings().admin
    if not tree.has(("listen", "auth")):
        if isinstance(admin, str) and admin.rpartition(":")[2].isdecimal() and not is_loopback(admin):
            yield tree.problem(here, f"needs listen.auth with managers, or listen.admin on loopback, not {admin}")
    elif not tree.value(("listen", "auth", "managers")):
        yield tree.problem(here, "needs listen.auth.managers: the clients that may act from the page")


def _count(value: Any, default: int, most: int) -> int:
    """A whole number as it is written; the default for what may not stand there, which is told elsewhere."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else default
