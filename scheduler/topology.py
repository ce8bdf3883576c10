"""The topology of a host: its cores, the caches, memory and execution units that they share, and the usable ones."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A physical core. `cpus` are the kernel's numbers of its usable hardware threads (SMT siblings). `cache` is the
    group of cores that share the last-level cache, named by its lowest core. `kind` is "performance" or "efficiency" on
    a hybrid machine, else ""."""

    cpus: tuple[int, ...]
    cache: int = 0
    node: int = 0
    socket: int = 0
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The online cores that affinity mask and cpuset allow, by socket, node, cache group and number. `quota_cores` is
    the cgroup's CPU quota in hardware threads; None without a limit."""

    physical: tuple[Core, ...]
    quota_cores: float | None = None
    instruction_sets: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def cpus(self) -> tuple[int, ...]:
        return tuple(sorted(cpu for core in self.physical for cpu in core.cpus))

    @property
    def cores(self) -> int:
        """The hardware threads that may run at once, at least one: a quota of 3.5 gives 3."""
        if self.quota_cores is None:
            return len(self.cpus)
        return max(1, min(len(self.cpus), math.floor(self.quota_cores)))

    @property
    def has_smt(self) -> bool:
        return any(len(core.cpus) > 1 for core in self.physical)

    def describe(self) -> str:
        sockets = {core.socket for core in self.physical}
        nodes = {core.node for core in self.physical}
        caches = {core.cache for core in self.physical}
        parts = [f"cores {core_list(self.cpus)}"]
        if self.has_smt:
            parts.append(f"{len(self.physical)} physical")
        for count, noun in ((len(sockets), "sockets"), (len(nodes), "NUMA nodes"), (len(caches), "cache groups")):
            if count > 1:
                parts.append(f"{count} {noun}")
        if self.quota_cores is not None:
            parts.append(f"cgroup quota {self.quota_cores:g}")
        return ", ".join(parts)


def core_list(cores: Iterable[int]) -> str:
    """Core numbers as the kernel writes them: 0-3,8."""
    ranges: list[list[int]] = []
    for core in cores:
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def parse_core_list(text: str) -> list[int]:
    """The numbers of "0-3,8"; none for an empty text. ValueError for any other form."""
    cores: list[int] = []
    for part in filter(None, text.strip().split(",")):
        low, _, high = part.partition("-")
        cores.extend(range(int(low), int(high or low) + 1))
    return cores


def uniform_host(cores: int, *, sockets: int = 1, threads: int = 1, cache_group: int = 8) -> Host:
    """A uniform host of `cores` hardware threads: equal sockets, one NUMA node per socket, cache groups of
    `cache_group` physical cores. Siblings are numbered as on most machines: all first threads, then all second ones."""
    if cores < 1 or cores % (sockets * threads) != 0:
        raise ValueError(f"{cores} cores cannot be dealt out to {sockets} sockets with {threads} threads a core")
    physical = cores // threads
    by_socket = physical // sockets
    return Host(
        physical=tuple(
            Core(
                cpus=tuple(number + thread * physical for thread in range(threads)),
                cache=number // by_socket * by_socket + number % by_socket // cache_group * cache_group,
                node=number // by_socket,
                socket=number // by_socket,
            )
            for number in range(physical)
        )
    )
