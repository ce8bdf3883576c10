"""Chooses cores for owners whose core counts are settled: near each other, and where they were before."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from corelane.scheduler.allocation import CoreAllocation
from corelane.scheduler.topology import Core

RESERVE = "reserve"


def place(
    units: Sequence[Core], reserved: int, counts: Mapping[str, int], pool: str, last: CoreAllocation | None
) -> dict[str, list[Core]]:
    """{owner: cores} for the reserve and each owner of `counts`, in the order of `units`. An owner keeps its cores of
    `last` as far as it still needs them. More cores come from one cache group if possible, else from one node."""
    sizes = {RESERVE: reserved, **counts}
    before = _before(last, pool)
    free = dict.fromkeys(range(len(units)))
    owned: dict[str, list[int]] = {owner: [] for owner in sizes}
    for owner in before.keys() & sizes.keys():
        previous = [index for index in free if before[owner].intersection(units[index].cpus)]
        for index in _nearest(units, previous, sizes[owner]):
            owned[owner].append(index)
            del free[index]
    vacant = _Vacant(units, free)
    # Larger groups choose first. The pool and then the reserve take the remaining cores; the reserve starts at the end.
    for owner in sorted(counts, key=lambda owner: (owner == pool, -counts[owner], owner)):
        while len(owned[owner]) < sizes[owner]:
            owned[owner].append(vacant.take(owned[owner], sizes[owner] - len(owned[owner])))
    while len(owned[RESERVE]) < reserved:
        owned[RESERVE].append(vacant.take_last())
    return {owner: [units[index] for index in sorted(indices)] for owner, indices in owned.items()}


def _before(last: CoreAllocation | None, pool: str) -> dict[str, set[int]]:
    if last is None:
        return {}
    owned = {version.name: set(version.cpus) for version in last.versions if not version.shares}
    return {**owned, RESERVE: set(last.reserve), pool: set(last.pool)}


def _nearest(units: Sequence[Core], indices: Sequence[int], count: int) -> list[int]:
    """The `count` cores of the nodes and cache groups that hold most of `indices`."""
    caches = Counter(units[index].cache for index in indices)
    nodes = Counter(units[index].node for index in indices)
    return sorted(indices, key=lambda i: (-nodes[units[i].node], -caches[units[i].cache], units[i].cache, i))[:count]


class _Vacant:
    """The cores without an owner, by cache group."""

    def __init__(self, units: Sequence[Core], free: Iterable[int]) -> None:
        self._units = units
        self._groups: dict[tuple[bool, int, int], list[int]] = {}
        self._nodes: Counter[int] = Counter()
        for index in free:
            unit = units[index]
            self._groups.setdefault((unit.kind == "efficiency", unit.node, unit.cache), []).append(index)
            self._nodes[unit.node] += 1

    def take(self, own: Sequence[int], missing: int) -> int:
        """Picks the next core for an owner of `own` that needs `missing` more: first in a cache group or node that it
        already uses, else in the tightest one that fits. Slow cores come last."""
        caches, nodes = {self._units[index].cache for index in own}, {self._units[index].node for index in own}

        def badness(group: tuple[bool, int, int]) -> tuple[object, ...]:
            slow, node, cache = group
            cache_left, node_left = len(self._groups[group]) - missing, self._nodes[node] - missing
            fit = cache_left if cache_left >= 0 else node_left if node_left >= 0 else -len(self._groups[group])
            return slow, cache not in caches, node not in nodes, cache_left < 0, node_left < 0, fit, node, cache

        return self._pop(min(self._groups, key=badness), 0)

    def take_last(self) -> int:
        return self._pop(max(self._groups, key=lambda group: self._groups[group][-1]), -1)

    def _pop(self, group: tuple[bool, int, int], place: int) -> int:
        indices = self._groups[group]
        index = indices.pop(place)
        if not indices:
            del self._groups[group]
        self._nodes[self._units[index].node] -= 1
        return index
