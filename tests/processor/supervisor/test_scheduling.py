"""The scheduler of a running server: who is pinned where, and that nobody notices when it changes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from corelane.commands.common import call_admin
from corelane.scheduler import read_host
from tests.support import onnx_models
from tests.support.load import ScaleLoad
from tests.support.server import Server, serving, wait_until

pytestmark = pytest.mark.skipif(read_host().cores < 2, reason="one core has nothing to share out")

CORES = list(read_host().cpus)


def sessions_of(pid: int) -> list[list[int]]:
    """The cores of each session thread, as the kernel has them."""
    threads = [thread.id for thread in psutil.Process(pid).threads()]
    names = {thread: Path(f"/proc/{pid}/task/{thread}/comm").read_text() for thread in threads}
    return sorted(sorted(os.sched_getaffinity(thread)) for thread in threads if names[thread].startswith("session-"))


def report_of(server: Server) -> dict[str, Any]:
    return call_admin(server.admin, "/v1/report")


def owners(report: dict[str, Any]) -> dict[str, list[int]]:
    own = {f"{one['model']}/{one['version']}": one["cpus"] for one in report["versions"] if not one["shares"]}
    return {**own, "pool": report["pool"]["cpus"]}


def is_apart(report: dict[str, Any]) -> bool:
    """Whether the baseline has one of two cores, and the three trials' versions the other."""
    found = owners(report)
    return found.keys() == {"base/1", "pool"} and sorted(map(tuple, found.values())) == [(core,) for core in CORES[:2]]


def models(base: str = "baseline", trials: str = "ab") -> str:
    return (
        "host: {cores: 2}\n"
        f"models: [{{name: base, path: scale, versions: [{{version: 1, role: {base}}}], slo_p99_ms: 50, "
        "queue: {timeout_ms: 5000}},"
        f" {{name: trial, path: scale, versions: [{{version: 1, role: {trials}}}, {{version: 2, role: {trials}}}], "
        "queue: {timeout_ms: 5000}}]"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"scale/{version}", version)
    return tmp_path


def wait_all(server: Server) -> None:
    for name, version in (("base", 1), ("trial", 1), ("trial", 2)):
        server.wait_state(name, version, "AVAILABLE")


def test_baselines_have_cores_of_their_own_and_trials_share_the_rest(folder: Path) -> None:
    with serving(folder, models()) as server:
        wait_all(server)
        report = wait_until(lambda: one if is_apart(one := report_of(server)) else None, "a core each")
        own, pool = owners(report)["base/1"], owners(report)["pool"]
        wait_until(lambda: sessions_of(server.version("base", 1)["pid"]) == [own], "the baseline's pin")
        for version in (1, 2):
            pid = server.version("trial", version)["pid"]
            wait_until(lambda pid=pid: sessions_of(pid) == [pool], "the pool's pin")
        assert report["problems"] == []
        assert report["events"][0]["reason"].endswith(" (the first plan)")
        assert server.status()["core_changes"] == report["events"]
        gateways = [gateway["pid"] for gateway in server.status()["gateways"]]
        wait_until(lambda: all(os.sched_getaffinity(pid) == set(pool) for pid in gateways), "the gateways' pins")


def test_roles_change_without_a_failed_request(folder: Path) -> None:
    """Pins move, sessions come and go, the pool's gate opens and closes, all under load."""
    with serving(folder, models()) as server:
        wait_all(server)
        with (
            ScaleLoad(server.grpc, "base", timeout_s=10) as load,
            ScaleLoad(server.grpc, "trial", timeout_s=10) as other,
        ):
            for base, trials in (("ab", "baseline"), ("ab", "ab"), ("baseline", "ab")):
                before = len(report_of(server)["events"])
                server.apply(server.manifest.read_text().split("\n", 1)[0] + "\n" + models(base, trials))
                wait_until(lambda before=before: len(report_of(server)["events"]) > before, "a new plan")
                answered = sum(load.answers.values()), sum(other.answers.values())
                wait_until(lambda a=answered: sum(load.answers.values()) > a[0] + 100, "answers")
                wait_until(lambda a=answered: sum(other.answers.values()) > a[1] + 100, "answers of the others")
        for one in (load, other):
            assert one.wrong == []
            assert one.failures == []
        report = report_of(server)
        assert is_apart(report)
        base = next(one for one in report["versions"] if one["model"] == "base")
        assert base["rate_per_s"] > 0
        assert base["measured"]["p99_ms"] > 0
        assert base["slo_met"] is True


def test_a_host_too_small_says_so(folder: Path) -> None:
    with serving(folder, models(trials="baseline")) as server:
        wait_all(server)
        report = wait_until(lambda: one if len((one := report_of(server))["versions"]) == 3 else None, "all planned")
        assert "all versions share all cores" in report["problems"][0]
        assert "all versions share all cores" in server.log.read_text()
        assert all(one["shares"] for one in report["versions"])


def test_the_scheduler_can_be_disabled(folder: Path) -> None:
    text = models().replace("host: {cores: 2}", "host: {cores: 2, scheduler: disabled}")
    with serving(folder, text) as server:
        wait_all(server)
        assert report_of(server)["problems"] == ["host.scheduler is disabled: sessions run on any core"]
        assert sessions_of(server.version("base", 1)["pid"]) == [CORES, CORES]


def corelane(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "corelane", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_report_plan_and_profile_as_commands(folder: Path) -> None:
    cache = {"CORELANE_CACHE": str(folder / "cache")}
    manifest = folder / "manifest.yaml"
    with serving(folder, models()) as server:
        wait_all(server)
        text = corelane("report", "-o", "wide", "--admin", server.admin)
        assert text.returncode == 0, text.stderr
        assert re.search(r"base/1 +baseline +1 +\d", text.stdout)
        assert "has" not in text.stderr
        page = folder / "cores.html"
        assert corelane("report", "--admin", server.admin, "--html", page).returncode == 0
        assert page.read_text().endswith("</html>\n")
        assert json.loads(corelane("report", "--admin", server.admin, "--json").stdout)["schema"] == 1
        failed = corelane("report", "--admin", server.admin, "--html", folder / "no/such/folder.html")
        assert (failed.returncode, "cannot be written" in failed.stderr) == (1, True)
    # The server has profiled the versions; a plan for another host needs it no longer.
    planned = corelane("plan", manifest, "--cores", 64, "--sockets", 2, "--threads", 2, "--rate", "base=500", **cache)
    assert planned.returncode == 0, planned.stderr
    assert "64 cores to use: cores 0-63, 32 physical, 2 sockets" in planned.stdout
    report = json.loads(corelane("plan", manifest, "--cores", 8, "--json", "--rate", "trial/2=7", **cache).stdout)
    rates = {(one["model"], one["version"]): one["rate_per_s"] for one in report["versions"]}
    assert rates == {("base", 1): 100, ("trial", 1): 50, ("trial", 2): 7}
    weighted = (
        manifest.read_text().replace("cores: 2", "smt: free").replace("path: scale", "path: scale, pool_weight: 3")
    )
    manifest.write_text(weighted)
    report = json.loads(corelane("plan", manifest, "--cores", 16, "--threads", 2, "--json", **cache).stdout)
    served = {cpu for one in report["versions"] for cpu in one["cpus"]}
    assert served
    assert served <= set(range(8)), "the siblings 8-15 idle"
    for arguments, problem in (
        (("--cores", 7, "--threads", 2), "cannot be dealt out"),
        (("--cores", 8, "--rate", "base"), "--rate should be MODEL=R"),
        (("--cores", 8, "--rate", "base=-1"), "--rate should be MODEL=R"),
        (("--cores", 8, "--rate", "nobody=1"), "--rate nobody: the manifest serves no such model or version"),
    ):
        failed = corelane("plan", manifest, *arguments, **cache)
        assert (failed.returncode, problem in failed.stderr) == (1, True), failed.stderr
    failed = corelane("plan", manifest, "--cores", 8, CORELANE_CACHE=str(folder / "empty"))
    assert failed.returncode == 1
    assert "was never profiled on this machine; to mend it: corelane profile" in failed.stderr


def test_profile(folder: Path) -> None:
    cache = {"CORELANE_CACHE": str(folder / "cache")}
    result = corelane("profile", folder / "scale", **cache)
    assert result.returncode == 0, result.stderr
    assert f"{folder}/scale/2: onnxruntime, fp32 (" in result.stdout
    assert "ms a request and" in result.stdout
    found = json.loads(corelane("profile", folder / "scale/1", "--json", **cache).stdout)
    assert [point[0] for point in found["points"]] == [1, 10, 100]
    assert found["cost"]["fixed_ms"] >= 0
    assert len(list((folder / "cache/profiles").iterdir())) == 2
    failed = corelane("profile", folder / "nothing", **cache)
    assert (failed.returncode, "is no folder" in failed.stderr) == (1, True)
    failed = corelane("profile", folder / "scale", "--threads", 0, **cache)
    assert (failed.returncode, "--threads should be at least 1" in failed.stderr) == (1, True)
