"""`corelane plan`: hosts that aren't here, what-ifs, and manifests of which not everything is known."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from corelane.commands import plan
from corelane.commands.main import main
from corelane.processor.loading import profiling
from corelane.scheduler import Profile
from tests.support import onnx_models

MANIFEST = """\
models:
  - {name: ctr, path: ctr, slo_p99_ms: 9}
  - {name: trial, path: ctr, role: ab, versions: [{version: 1, traffic: 25}, {version: 2, traffic: 75}]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of a model with two versions, the cache with their profiles."""
    monkeypatch.setenv("CORELANE_CACHE", str(tmp_path / "cache"))
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"ctr/{version}", version)
        keep_profile(tmp_path, version, ((1, 2.0, 0.1), (100, 4.0, 0.1)))
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return tmp_path


def keep_profile(folder: Path, version: int, points: tuple[tuple[int, float, float], ...]) -> None:
    place = (folder / f"ctr/{version}").resolve()
    with contextlib.closing(profiling.ProfileFile.open(folder / "cache", "onnxruntime", place, 1)) as kept:
        kept.write(Profile(engine="onnxruntime", precision="fp32", threads=1, points=points))


def run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(folder / "m.yaml"), *arguments])
    said = capsys.readouterr()
    return int(caught.value.code or 0), said.out, said.err


def report(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> dict[str, Any]:
    code, out, errors = run(capsys, folder, "--json", *arguments)
    assert (code, errors) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def versions(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{entry['model']}/{entry['version']}": entry for entry in found["versions"]}


def test_what_if(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = versions(report(capsys, folder, "--cores", "16"))
    assert {name: entry["rate_per_s"] for name, entry in plain.items()} == {"ctr/2": 100, "trial/1": 25, "trial/2": 75}
    assert (plain["ctr/2"]["slo_p99_ms"], plain["ctr/2"]["slo_met"]) == (9, True)
    changed = ("--scale", "2", "--rate", "ctr=300", "--rate", "trial/2=7", "--slo", "ctr=2", "--slo", "trial=50")
    other = report(capsys, folder, "--cores", "16", "--gateways", "5", "--gateway-ms", "0.9", *changed)
    found = versions(other)
    assert {name: entry["rate_per_s"] for name, entry in found.items()} == {"ctr/2": 600, "trial/1": 50, "trial/2": 14}
    assert (found["ctr/2"]["slo_p99_ms"], found["ctr/2"]["slo_met"], found["trial/1"]["slo_met"]) == (2, False, True)
    assert (other["predicts"], other["gateways"]["processes"], other["gateways"]["call_ms"]) == ("client", 5, 0.9)
    assert other["gateways"]["load"] == pytest.approx(0.664 * 0.9)
    assert plain["ctr/2"]["predicted"]["p99_ms"] > 2.4, "more than the worker's 2 ms"


def test_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = versions(report(capsys, folder, "--cores", "16", "--rows", "100"))
    assert found["ctr/2"]["service_ms"] == pytest.approx(4.0, rel=0.01)


def test_the_text_says_what_is_included_and_counts_gateways(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--cores", "128", "--rate", "ctr=3400000")
    assert code == 0
    assert "predicted: what a client on the host's network sees: gateway, channel, queue and run;" in out
    assert "gateways: 3.4 M calls/s of 0.45 ms of CPU keep 1530 cores busy; 16 of 16 can be at work at once;" in out
    assert "bounded by host.gateways: 16 processes" in out
    assert "problem: gateways cannot keep up: 3.4 M calls/s" in out
    row = next(line for line in out.splitlines() if line.startswith("ctr/2"))
    assert "3.4 M" in row
    assert "never" in row
    assert "yes" not in row


def test_what_is_not_known_is_named_and_the_rest_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    onnx_models.write_scale(folder / "ctr/3", 3)
    (folder / "ctr/4").mkdir()
    (folder / "m.yaml").write_text(
        "models:\n"
        "  - {name: ctr, path: ctr, versions: [{version: 2}, {version: 3}, {version: 4}, {version: 9}]}\n"
        "  - {name: none, path: none}\n"
        "  - {name: empty, path: empty, versions: {all: true}}\n"
    )
    code, out, _ = run(capsys, folder, "--cores", "8")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if "not planned  " in line]
    assert [row[0] for row in rows] == ["ctr/3", "ctr/4", "ctr/9", "none/*", "empty/*"]
    assert f"ctr/3: it was never profiled on this machine; to mend it: corelane profile {folder}/ctr/3\n" in out
    assert f"ctr/4: {folder}/ctr/4 holds no model" in out
    assert f"ctr/9: {folder}/ctr/9 is not there; to mend it: put its folder there" in out
    assert f"empty/*: {folder}/empty has no version" in out
    found = report(capsys, folder, "--cores", "8")
    assert found["unplanned"][2] == {
        "model": "ctr",
        "version": 9,
        "why": f"{folder}/ctr/9 is not there",
        "mend": "put its folder there",
    }
    assert versions(found)["ctr/2"]["rate_per_s"] == 25, "the others keep their part of the rate"


def test_where_nothing_can_be_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "m.yaml").write_text("models: [{name: none, path: none}]")
    code, out, errors = run(capsys, folder, "--cores", "8")
    assert (code, out) == (1, "")
    assert errors.startswith(
        f"corelane plan: nothing can be planned:\nnone/*: {folder}/none has no version; to mend it:"
    )
    (folder / "m.yaml").write_text("models: []")
    assert run(capsys, folder, "--find-smallest")[0] == 1


def test_a_version_that_could_not_be_measured_is_said_to_be_assumed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_profile(folder, 2, ())
    _, out, _ = run(capsys, folder, "--cores", "8")
    assert "problem: ctr/2 could not be measured" in out
    assert "1 ms a request is assumed" in out


def test_the_smallest_host(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--find-smallest", "--rate", "ctr=2000", "--gateways", "8")
    found = report(capsys, folder, *arguments)
    cores = found["smallest"]["cores"]
    assert (found["smallest"]["is_enough"], found["host"]["cores"]) == (True, cores)
    assert found["problems"] == []
    smaller = report(capsys, folder, "--cores", str(cores - 1), *arguments[1:])
    assert smaller["problems"] == found["smallest"]["limits"] != []
    code, out, _ = run(capsys, folder, *arguments)
    assert code == 0
    assert out.startswith(f"{cores} cores are the fewest on which every SLO is met.\n  with fewer: ")


def test_gateways_that_decide_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--find-smallest", "--rate", "ctr=15000")
    assert code == 0
    assert "  with fewer: host.gateways decides: with host.gateways: " in out


def test_a_smallest_host_that_there_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--find-smallest", "--slo", "ctr=1")
    assert code == 1
    assert out.startswith("No host of up to 4096 cores is one on which every SLO is met")
    assert "  ctr/2: no number of cores meets 1 ms; a client sees a p99 of " in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--cores", "0"), "--cores should be at least 1, not 0"),
        (("--cores", "5000"), "--cores should be at most 4096, not 5000"),
        (("--cores", "3", "--sockets", "2"), "3 cores cannot be dealt out to 2 sockets"),
        (("--cores", "4", "--threads", "0"), "--threads should be at least 1, not 0"),
        (("--cores", "4", "--rows", "0"), "--rows should be at least 1, not 0"),
        (("--cores", "4", "--gateways", "-1"), "--gateways should be at least 1, not -1"),
        (("--cores", "4", "--scale", "nan"), "--scale should be between 1e-06 and 1e+06, not nan"),
        (("--cores", "4", "--gateway-ms", "0"), "--gateway-ms should be between 1e-06 and 1e+06, not 0"),
        (("--cores", "4", "--rate", "ctr"), "--rate should be MODEL=R or MODEL/VERSION=R"),
        (("--cores", "4", "--rate", "ctr=-1"), "--rate should be MODEL=R or MODEL/VERSION=R"),
        (("--cores", "4", "--rate", "ctr=inf"), "not 'ctr=inf'"),
        (("--cores", "4", "--rate", "ctr=1", "--rate", "ctr=2"), "--rate ctr stands twice; keep one"),
        (
            ("--cores", "4", "--rate", "crt=1"),
            "--rate crt: the manifest serves no such model or version; did you mean ctr",
        ),
        (("--cores", "4", "--slo", "ctr/2=1"), "--slo ctr/2: the manifest serves no such model or version"),
        (
            ("--cores", "4", "--slo", "ctr=0"),
            "--slo should be MODEL=MS with milliseconds above 0, up to 1e9, not 'ctr=0'",
        ),
        (
            ("--find-smallest", "--sockets", "100", "--threads", "100"),
            "--sockets times --threads should be at most 4096",
        ),
        (("--cores", "4", "--like", "127.0.0.1:1"), "no server answers on 127.0.0.1:1"),
    ],
)
def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str) -> None:
    code, out, errors = run(capsys, folder, *arguments)
    assert (code, out) == (1, "")
    assert errors.startswith("corelane plan: ")
    assert problem in errors


def test_either_cores_or_a_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, folder)[0] == 2
    assert run(capsys, folder, "--cores", "4", "--find-smallest")[0] == 2


def test_a_call_as_a_running_server_measures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(calls: int) -> Any:
        counts = {"named": calls - 10, "split": 10, "shadowed": 5000}
        status = {
            "gateway_cpu_s": 9.0,
            "models": [{"versions": [{"assigned": counts}, {"assigned": None}, {}]}],
        }
        monkeypatch.setattr(plan, "call_admin", lambda address, path: status)
        return plan.measured_call_ms("127.0.0.1:8502")

    assert answer(20_000) == pytest.approx(0.45)
    with pytest.raises(plan.ControlError, match="has answered 20 calls, too few"):
        answer(20)


def test_a_search_is_quiet_for_two_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([10.0, 11.9, 12.5])
    on_try = plan.slow_search(lambda: next(times))
    on_try(8)
    assert capsys.readouterr().err == ""
    on_try(16)
    assert capsys.readouterr() == ("", "trying 16 cores, after 2 s\n")
