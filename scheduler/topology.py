"""The cores this process may use: its affinity mask, and the cgroup's quota."""

import math
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`affinity` are the core numbers allowed; `cores` is how many of them the quota leaves, one at least."""

    affinity: tuple[int, ...]
    quota_cores: float | None

    @property
    def cores(self) -> int:
        if self.quota_cores is None:
            return len(self.affinity)
        return max(1, min(len(self.affinity), math.floor(self.quota_cores)))

    def describe(self) -> str:
        quota = "" if self.quota_cores is None else f" (cgroup quota {self.quota_cores:g})"
        return f"cores {core_list(self.affinity)}{quota}"


def read_host(root: Path = Path("/")) -> Host:
    """The host as the kernel shows it under `root`."""
    return Host(affinity=tuple(sorted(os.sched_getaffinity(0))), quota_cores=_quota_cores(root))


def core_list(cores: tuple[int, ...]) -> str:
    """Core numbers as the kernel writes them: 0-3,8."""
    ranges: list[list[int]] = []
    for core in cores:
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def _quota_cores(root: Path) -> float | None:
    """The smallest CPU quota of this process's cgroup and its parents, in cores; None if there is none.

    cgroup v2: `cpu.max` is "QUOTA PERIOD" or "max PERIOD". v1: `cpu.cfs_quota_us` is -1 for none.
    (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.)"""
    quotas = []
    for folder in _cgroup_folders(root):
        unified = _read(folder / "cpu.max").split()
        if len(unified) == 2 and unified[0] != "max":
            quotas.append(int(unified[0]) / int(unified[1]))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _cgroup_folders(root: Path) -> list[Path]:
    folders: list[Path] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
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
