"""Reads the host from the kernel's files: cores from sysfs, limits from /proc and cgroups."""

from pathlib import Path

from corelane.scheduler.topology import Core, Host, parse_core_list

_CPUS = "sys/devices/system/cpu"
_NODES = "sys/devices/system/node"
# (Linux, Documentation/admin-guide/cputopology.rst; hybrid: the PMUs of the two kinds of core.)
_KINDS = {"performance": "sys/devices/cpu_core/cpus", "efficiency": "sys/devices/cpu_atom/cpus"}
_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def read_host(root: Path = Path("/")) -> Host:
    """The host under `root`. Without topology files every hardware thread counts as a core."""
    allowed = _allowed(root)
    nodes = _groups(root / _NODES, "node*", "cpulist")
    kinds = {cpu: kind for kind, file in _KINDS.items() for cpu in parse_core_list(_read(root / file))}
    siblings: dict[int, list[int]] = {}
    for cpu in sorted(allowed):
        mates = parse_core_list(_read(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list")) or [cpu]
        siblings.setdefault(min(mates), []).append(cpu)
    cores = []
    for cpus in siblings.values():
        folder = root / _CPUS / f"cpu{cpus[0]}"
        node = nodes.get(cpus[0], 0)
        socket = int(_read(folder / "topology/physical_package_id") or 0)
        cores.append(
            Core(
                cpus=tuple(cpus),
                cache=_cache(folder, node, nodes),
                node=node,
                socket=max(socket, 0),  # -1: unknown
                kind=kinds.get(cpus[0], ""),
            )
        )
    cores.sort(key=lambda core: (core.socket, core.node, core.cache, core.cpus))
    return Host(physical=tuple(cores), quota_cores=_quota_cores(root), instruction_sets=_instruction_sets(root))


def _allowed(root: Path) -> set[int]:
    """Online cores within the affinity mask and the cgroups' cpusets."""
    mask = next((line for line in _read(root / "proc/self/status").splitlines() if "Cpus_allowed_list" in line), "")
    allowed = set(parse_core_list(mask.partition(":")[2]))
    online = set(parse_core_list(_read(root / _CPUS / "online")))
    allowed = allowed & online if online and allowed else allowed or online
    for folder in _cgroup_folders(root, "cpuset"):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
            cpuset = set(parse_core_list(_read(folder / name)))
            allowed = allowed & cpuset or allowed
    return allowed or {0}


def _cache(folder: Path, node: int, nodes: dict[int, int]) -> int:
    """The lowest core that shares the last-level cache. With sub-NUMA clusters only cores of the same node count: each
    node has a nearer slice of the cache."""
    best: tuple[int, list[int]] = (0, [])
    for index in folder.glob("cache/index*"):
        if _read(index / "type") == "Instruction":
            continue
        level = int(_read(index / "level") or 0)
        shared = parse_core_list(_read(index / "shared_cpu_list"))
        if shared:
            best = max(best, (level, shared))
    same_node = [cpu for cpu in best[1] if nodes.get(cpu, 0) == node]
    return min(same_node or (cpu for cpu, its in nodes.items() if its == node), default=0)


def _groups(folder: Path, pattern: str, file: str) -> dict[int, int]:
    """{core: number of the group that lists it}"""
    numbers = {}
    for group in folder.glob(pattern):
        digits = group.name.lstrip("abcdefghijklmnopqrstuvwxyz")
        if digits.isdigit():
            numbers.update(dict.fromkeys(parse_core_list(_read(group / file)), int(digits)))
    return numbers


def _instruction_sets(root: Path) -> tuple[str, ...]:
    line = next((line for line in _read(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    return tuple(flag for flag in _FLAGS if flag in flags)


def _quota_cores(root: Path) -> float | None:
    """The smallest CPU quota of this process's cgroup and its parents, in cores; None if there is none.

    cgroup v2: `cpu.max` is "QUOTA PERIOD" or "max PERIOD". v1: `cpu.cfs_quota_us` is -1 for none.
    (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.)"""
    quotas = []
    for folder in _cgroup_folders(root, "cpu"):
        unified = _read(folder / "cpu.max").split()
        if len(unified) == 2 and unified[0] != "max":
            quotas.append(int(unified[0]) / int(unified[1]))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Folders that may hold a controller's files for this process's cgroup and its parents."""
    folders: list[Path] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller]
        else:
            continue
        parts = Path(path.lstrip("/")).parts
        for mount in mounts:
            # In a container the path may be the host's; the mount itself is then the container's group.
            folders.extend(mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
