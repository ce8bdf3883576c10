"""What operators ask of a running server that cannot be: refused in words, and nothing has changed."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corelane.commands import status
from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError, ManifestError
from corelane.processor.manifest import load_manifest, parse_manifest
from corelane.processor.manifest.text.files import BYTES_MAX
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.load import ScaleLoad
from tests.support.server import SPLIT, Server, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("operators")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"m/{version}", version)
    with serving(folder, SPLIT) as server:
        for version in (1, 2):
            server.wait_state("m", version, "AVAILABLE")
        yield server


def traffic(server: Server) -> list[float]:
    return [version["traffic"] for version in server.status()["models"][0]["versions"]]


def change(server: Server, **body: Any) -> dict[str, Any]:
    return call_admin(server.admin, "/v1/traffic", {"model": "m", **body})


@contextlib.contextmanager
def manifest_is(server: Server, text: str) -> Iterator[None]:
    """The file is so at once, before anybody looks, and then as it was."""
    before = server.manifest.read_text()
    server.manifest.write_text(text)
    try:
        yield
    finally:
        server.manifest.write_text(before)
        wait_until(lambda: not server.status()["manifest_error"], "the manifest that is fine again")


@pytest.mark.parametrize(
    "shares",
    [
        {"1": float("nan")},
        {"1": float("inf")},
        {"1": "nan"},
        {"1": -1, "2": 101},
        {"1": 1e308},
        {"9": 100},
        {},
        {"x": 1},
        {"1": [1]},
        {"1": 10**400},
        [1],
        None,
    ],
)
def test_shares_that_cannot_be(server: Server, shares: Any) -> None:
    with pytest.raises(ControlError):
        change(server, action="split", shares=shares)
    assert traffic(server) == [95, 5]


@pytest.mark.parametrize(
    ("shares", "code"),
    [(["1=nan"], 2), (["1=inf"], 2), (["1=50", "1=50"], 1), (["1=1e400"], 2), (["1=-5", "2=105"], 2), (["1=105"], 1)],
)
def test_shares_on_the_command_line(server: Server, shares: list[str], code: int) -> None:
    command = [sys.executable, "-P", "-m", "corelane", "traffic", "m", *shares, "--admin", server.admin]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert result.stderr
    assert traffic(server) == [95, 5]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(
    "text",
    [
        "models: [{name: m, path: m, versions: [{version: 1, traffic: VALUE}]}]",
        "models: [{name: m, path: m, pool_weight: VALUE}]",
        "models: [{name: m, path: m, slo_p99_ms: VALUE}]",
        "models: [{name: m, path: m, queue: {timeout_ms: VALUE}}]",
        "host: {drain_s: VALUE}\nmodels: []",
    ],
)
def test_numbers_that_are_none(text: str, value: str) -> None:
    with pytest.raises(ManifestError, match=r"m.yaml:1:\d+: .*finite"):
        parse_manifest(text.replace("VALUE", value), source="m.yaml", base=Path("/base"))


@pytest.mark.parametrize(
    "action", [{"action": "promote", "version": 2}, {"action": "split", "shares": {"1": 50, "2": 50}}]
)
@pytest.mark.parametrize("text", ["models: [", "models: [{name: m, path: m, versions: [{version: 1, traffic: 7"])
def test_a_half_edited_manifest_moves_no_traffic(server: Server, action: dict[str, Any], text: str) -> None:
    with manifest_is(server, text), pytest.raises(ControlError, match="not valid; nothing has changed"):
        change(server, **action)
    assert traffic(server) == [95, 5]


def test_a_manifest_that_is_not_applied_moves_no_traffic(server: Server) -> None:
    """Whoever edits it would find their edit overwritten, or half of it applied."""
    edited = server.manifest.read_text().replace("95", "60").replace(" 5}", " 40}")
    process = server.process
    os.kill(process.pid, signal.SIGSTOP)  # so that the edit is not taken over before the command comes
    before = server.manifest.read_text()
    server.manifest.write_text(edited.replace("models:", "host: {drain_s: 7}\nmodels:"))
    os.kill(process.pid, signal.SIGCONT)
    try:
        with pytest.raises(ControlError, match="apply it first"):
            change(server, action="promote", version=2)
    finally:
        server.manifest.write_text(before)
        wait_until(lambda: not server.status()["manifest_error"], "the manifest that is fine again")
    assert traffic(server) == [95, 5]


def test_what_is_no_file_holds_up_nobody(server: Server) -> None:
    before, manifest = server.manifest.read_text(), server.manifest
    manifest.unlink()
    os.mkfifo(manifest)
    try:
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: "no regular file" in server.status()["manifest_error"], "the problem")
        with pytest.raises(ControlError, match="no regular file"):
            change(server, action="promote", version=2)
    finally:
        manifest.unlink()
        manifest.write_text(before)
    wait_until(lambda: not server.status()["manifest_error"], "the manifest that is fine again")
    assert traffic(server) == [95, 5]


def test_aliases_are_counted_each_time(server: Server, tmp_path: Path) -> None:
    names = "abcdefghij"
    text = "a: &a [x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{below}'] * 9)}]\n" for below, name in itertools.pairwise(names)
    )
    assert len(text) < 600
    for bomb in (text + "models: []", "models: " + "[" * 5000):
        with pytest.raises(ManifestError, match=r"more than 100000 values|too deep"):
            parse_manifest(bomb, source="m.yaml", base=tmp_path)
        with pytest.raises(ControlError, match=r"more than 100000 values|too deep"):
            server.apply(bomb)
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(ManifestError, match="larger than 4 MiB"):
        load_manifest(path)


def test_bodies_are_bounded(server: Server) -> None:
    for path in ("/v1/apply", "/v1/traffic"):
        answer = ask(server.admin, "POST", path, b" " * (100 << 20), {"Content-Type": "application/json"})
        assert (answer.status, answer.json) == (413, {"problems": ["the body is over 8 MiB"]})
        for body in (b"[" * 100_000, b"\xff", b"", b"[]", b"null", b'{"model": 1}'):
            answer = ask(server.admin, "POST", path, body, {"Content-Type": "application/json"})
            assert (answer.status, answer.json.keys()) == (400, {"problems"}), body[:20]
    for method, path, code in (("GET", "/v1/none", 404), ("GET", "/v1/apply", 405), ("POST", "/v1/status", 405)):
        answer = ask(server.admin, method, path, None, {"Content-Type": "application/json"})
        assert (answer.status, answer.json.keys()) == (code, {"problems"})


def test_commands_at_once_leave_one_of_their_results(server: Server) -> None:
    """And the file says what is served."""
    before = server.manifest.read_text()
    script = (
        "import sys; from corelane.commands.common import call_admin\n"
        "for n in range(10): call_admin(sys.argv[1], '/v1/traffic',"
        " {'action': 'split', 'model': 'm', 'shares': {'1': float(sys.argv[2]), '2': 100 - float(sys.argv[2])}})"
    )
    with ScaleLoad(server.grpc, "m") as load:
        running = [subprocess.Popen([sys.executable, "-c", script, server.admin, str(n)]) for n in (10, 20, 30)]
        assert [process.wait(60) for process in running] == [0, 0, 0]
        served = traffic(server)
        written = load_manifest(server.manifest).models[0].versions.listed
        assert served == [entry.traffic for entry in written]
        assert served in ([10, 90], [20, 80], [30, 70])
        for _ in range(200):
            os.kill(server.process.pid, signal.SIGHUP)
        assert json.dumps(traffic(server)) == json.dumps(served)
    assert (load.failures, load.wrong) == ([], [])
    server.manifest.write_text(before)
    wait_until(lambda: traffic(server) == [95, 5], "the manifest as it was")


def test_shares_as_small_as_they_like(server: Server) -> None:
    said = change(server, action="split", shares={"1": 99.99999, "2": 0.00001})["said"]
    assert said[0] == "calls of model m: version 1 99.99999 %, version 2 0.00001 %"
    assert said[1].startswith("written to ")
    assert "99.99999%" in status.render(server.status())
    assert load_manifest(server.manifest).models[0].settings_of(2).traffic == 0.00001
    change(server, action="rollback")
    assert traffic(server) == [95, 5]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "rollback", "model": "\ud800"},
        {"action": "\udfff", "model": "m"},
        {"action": "promote", "model": "\ud800", "version": 1},
        {"action": "promote", "model": "m", "version": "\ud800"},
        {"action": "split", "model": "m", "shares": {"\ud800": 1}},
    ],
)
def test_halves_of_characters_are_answered(server: Server, body: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as caught:
        call_admin(server.admin, "/v1/traffic", body)
    assert "answered 500" not in str(caught.value)


@pytest.mark.parametrize(
    ("manifest", "base", "code"), [("models: []", "/\ud800", 400), ("\ud800", "/", 409), ("a: '\\uD800'", "/", 409)]
)
def test_halves_of_characters_in_a_manifest(server: Server, manifest: str, base: str, code: int) -> None:
    body = {"manifest": manifest, "base": base, "source": "\ud800"}
    assert ask(server.admin, "POST", "/v1/apply", body).status == code


def test_a_page_of_text_cannot_steer_the_terminal(server: Server) -> None:
    command = [sys.executable, "-P", "-m", "corelane", "promote", "\x1b[31mm\udc80\x07", "1", "--admin", server.admin]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == 1
    assert b"\\x1b[31mm\\udc80\\x07 is not in the manifest" in result.stderr
    odd = server.status()
    odd["models"][0]["versions"][0]["error"] = "it said: \x1b]0;owned\x07\nb/9: all is well"
    odd["models"][0]["versions"][0]["engine"] = "\x1b[8m"
    lines = status.render(odd).split("\n")
    assert not any("\x1b" in line or "\x07" in line or line.startswith("b/9") for line in lines)
