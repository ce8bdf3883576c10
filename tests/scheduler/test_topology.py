"""The cores a process may use, from trees as the kernel writes them."""

import os
from pathlib import Path

import pytest

from corelane.scheduler import Core, Host, core_list, parse_core_list, read_host, uniform_host
from tests.scheduler import machines
from tests.scheduler.machines import HYBRID_FILES, write_machine


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("", {}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3.5),
        (
            "0::/a.slice/b\n",
            {"sys/fs/cgroup/a.slice/cpu.max": "200000 100000\n", "sys/fs/cgroup/a.slice/b/cpu.max": "max 100000\n"},
            2.0,
        ),
        (
            "4:memory:/\n3:cpu,cpuacct:/docker/x\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            1.5,
        ),
        (
            "1:cpu:/\n0::/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
    ],
)
def test_quota(tmp_path: Path, cgroup: str, files: dict[str, str], quota: float | None) -> None:
    host = read_host(write_machine(tmp_path, machines.two_cores(), cgroup=cgroup, files=files))
    assert host.quota_cores == quota


@pytest.mark.parametrize(
    ("cores", "quota", "usable"), [(2, None, 2), (4, 3.5, 3), (2, 0.5, 1), (2, 8.0, 2), (4, 1.0, 1)]
)
def test_a_quota_leaves_whole_cores(cores: int, quota: float | None, usable: int) -> None:
    assert Host(physical=uniform_host(cores).physical, quota_cores=quota).cores == usable


def test_two_cores(tmp_path: Path) -> None:
    host = read_host(write_machine(tmp_path, machines.two_cores()))
    assert host.physical == (Core(cpus=(0,)), Core(cpus=(1,)))
    assert host.describe() == "cores 0-1"


def test_two_sockets_with_smt(tmp_path: Path) -> None:
    host = read_host(write_machine(tmp_path, machines.two_sockets(), flags="fpu avx2 avx512f avx512_bf16 sse"))
    assert len(host.physical) == 64
    assert host.cores == 128
    assert host.has_smt
    assert host.physical[0] == Core(cpus=(0, 64), cache=0, node=0, socket=0)
    assert host.physical[-1] == Core(cpus=(63, 127), cache=56, node=1, socket=1)
    assert len({core.cache for core in host.physical}) == 8
    assert host.instruction_sets == ("avx2", "avx512f", "avx512_bf16")
    assert host.describe() == "cores 0-127, 64 physical, 2 sockets, 2 NUMA nodes, 8 cache groups"


def test_sub_numa_clusters_are_cache_groups(tmp_path: Path) -> None:
    host = read_host(write_machine(tmp_path, machines.sub_numa_clusters(), flags="avx512f amx_bf16 amx_int8"))
    assert {(core.node, core.cache) for core in host.physical} == {(0, 0), (1, 8)}
    assert "amx_bf16" in host.instruction_sets


def test_hybrid(tmp_path: Path) -> None:
    host = read_host(write_machine(tmp_path, machines.hybrid(), files=HYBRID_FILES))
    assert [core.cpus for core in host.physical if core.kind == "performance"] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert [core.cpus for core in host.physical if core.kind == "efficiency"] == [(8,), (9,), (10,), (11,)]


def test_a_container_with_a_cpuset(tmp_path: Path) -> None:
    """Siblings outside the cpuset are not there: half a core is a core of one thread."""
    host = read_host(
        write_machine(
            tmp_path,
            machines.two_sockets(),
            allowed=range(128),
            cgroup="0::/\n",
            files={"sys/fs/cgroup/cpuset.cpus.effective": "2-5,66\n"},
        )
    )
    assert [core.cpus for core in host.physical] == [(2, 66), (3,), (4,), (5,)]
    assert host.cores == 5


def test_cpuset_of_cgroup_v1(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpuset/x/cpuset.effective_cpus": "1\n"}
    root = write_machine(tmp_path, machines.two_cores(), cgroup="5:cpuset:/x\n", files=files)
    assert read_host(root).cpus == (1,)


def test_the_affinity_mask_and_offline_cores(tmp_path: Path) -> None:
    threads = machines.two_sockets()
    host = read_host(write_machine(tmp_path, threads, allowed=range(4), online=set(threads) - {1}))
    assert host.cpus == (0, 2, 3)


def test_a_kernel_that_shows_nothing(tmp_path: Path) -> None:
    assert read_host(tmp_path).physical == (Core(cpus=(0,)),)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Cpus_allowed_list:\t0-2\n")
    assert [core.cpus for core in read_host(tmp_path).physical] == [(0,), (1,), (2,)]


def test_this_machine() -> None:
    assert set(read_host().cpus) <= os.sched_getaffinity(0)


def test_a_made_up_host() -> None:
    host = uniform_host(128, sockets=2, threads=2)
    assert len(host.physical) == 64
    assert host.physical[0].cpus == (0, 64)
    assert host.physical[40] == Core(cpus=(40, 104), cache=40, node=1, socket=1)
    with pytest.raises(ValueError, match="cannot be dealt out"):
        uniform_host(6, sockets=4)


@pytest.mark.parametrize(("cores", "text"), [((), ""), ((3,), "3"), ((0, 1), "0-1"), ((0, 1, 2, 5, 7, 8), "0-2,5,7-8")])
def test_core_list(cores: tuple[int, ...], text: str) -> None:
    assert core_list(cores) == text
    assert parse_core_list(text) == list(cores)
