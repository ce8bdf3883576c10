"""Machines as the kernel shows them: trees of the files that are read, in the kernel's own formats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from corelane.scheduler import core_list


@dataclass(frozen=True, kw_only=True)
class Thread:
    """A hardware thread: which others are of its core and its last-level cache, and where it is."""

    siblings: tuple[int, ...]
    cache: tuple[int, ...]
    node: int = 0
    socket: int = 0


def write_machine(
    root: Path,
    threads: Mapping[int, Thread],
    *,
    cgroup: str = "0::/\n",
    allowed: Iterable[int] | None = None,
    online: Iterable[int] | None = None,
    flags: str = "fpu avx2",
    files: Mapping[str, str] | None = None,
) -> Path:
    """A machine of these hardware threads under `root`; `files` on top of it. Offline cores have no topology."""
    numbers = sorted(threads)
    online = sorted(numbers if online is None else online)
    text = {
        "proc/self/status": f"Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t{core_list(allowed or numbers)}\n",
        "proc/self/cgroup": cgroup,
        "proc/cpuinfo": f"processor\t: 0\nflags\t\t: {flags}\n",
        "sys/devices/system/cpu/online": f"{core_list(online)}\n",
        "sys/devices/system/cpu/possible": f"0-{numbers[-1]}\n",
    }
    for node in {thread.node for thread in threads.values()}:
        own = [number for number in numbers if threads[number].node == node]
        text[f"sys/devices/system/node/node{node}/cpulist"] = f"{core_list(own)}\n"
    for number in online:
        thread, folder = threads[number], f"sys/devices/system/cpu/cpu{number}"
        text |= {
            f"{folder}/topology/physical_package_id": f"{thread.socket}\n",
            f"{folder}/topology/thread_siblings_list": f"{core_list(thread.siblings)}\n",
            f"{folder}/cache/index0/level": "1\n",
            f"{folder}/cache/index0/type": "Data\n",
            f"{folder}/cache/index0/shared_cpu_list": f"{core_list(thread.siblings)}\n",
            f"{folder}/cache/index3/level": "3\n",
            f"{folder}/cache/index3/type": "Unified\n",
            f"{folder}/cache/index3/shared_cpu_list": f"{core_list(thread.cache)}\n",
        }
    for name, content in {**text, **(files or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def two_cores() -> dict[int, Thread]:
    """A small virtual machine without SMT."""
    return {number: Thread(siblings=(number,), cache=(0, 1)) for number in range(2)}


def two_sockets() -> dict[int, Thread]:
    """2 sockets of 32 cores with SMT, 128 hardware threads, 8 cores a last-level cache, as an EPYC has it."""
    threads = {}
    for number in range(128):
        core = number % 64
        complex_ = core // 8
        first = range(8 * complex_, 8 * complex_ + 8)
        threads[number] = Thread(
            siblings=(core, core + 64),
            cache=(*first, *(one + 64 for one in first)),
            node=core // 32,
            socket=core // 32,
        )
    return threads


def sub_numa_clusters() -> dict[int, Thread]:
    """One socket of 16 cores with SMT in two sub-NUMA clusters that share a last-level cache, as a Xeon has it."""
    return {
        number: Thread(siblings=(number % 16, number % 16 + 16), cache=tuple(range(32)), node=number % 16 // 8)
        for number in range(32)
    }


def hybrid() -> dict[int, Thread]:
    """4 performance cores with SMT (0-7, siblings side by side) and 4 efficiency cores (8-11)."""
    return {
        number: Thread(
            siblings=(number // 2 * 2, number // 2 * 2 + 1) if number < 8 else (number,), cache=tuple(range(12))
        )
        for number in range(12)
    }


HYBRID_FILES = {"sys/devices/cpu_core/cpus": "0-7\n", "sys/devices/cpu_atom/cpus": "8-11\n"}
