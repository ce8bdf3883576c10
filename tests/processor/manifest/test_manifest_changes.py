"""Every way to change what is served, on a running server: `apply`, the file, SIGHUP; and that none half works."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from corelane.processor.errors import ControlError
from tests.support import onnx_models
from tests.support.server import Server, serving, wait_until

A = "{name: a, path: a}"
B = "{name: b, path: b}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.write_scale(tmp_path / "a/1", 1)
    onnx_models.write_scale(tmp_path / "b/1", 1)
    return tmp_path


def names(server: Server) -> list[str]:
    return [model["name"] for model in server.status()["models"]]


def rewrite(server: Server, old: str, new: str) -> None:
    text = server.manifest.read_text()
    assert old in text
    server.manifest.write_text(text.replace(old, new))


def test_a_changed_file_is_applied(folder: Path) -> None:
    with serving(folder, f"models: [{A}]") as server:
        rewrite(server, A, f"{A}, {B}")
        server.wait_state("b", 1, "AVAILABLE")
        rewrite(server, f"{A}, ", "")
        wait_until(lambda: names(server) == ["b"], "only b")
        with server.client() as client:
            assert client.predict("b", {"x": [1.0]})["y"] == [1.0]


def test_an_invalid_file_changes_nothing_and_is_told(folder: Path) -> None:
    with serving(folder, f"models: [{A}]") as server:
        pid = server.version("a", 1)["pid"]
        rewrite(server, A, "{name: a, pth: a}")
        error = wait_until(lambda: server.status()["manifest_error"], "the error")
        assert error.splitlines()[0].endswith("manifest.yaml:2:10: models[0].path: is missing")
        assert server.version("a", 1)["pid"] == pid
        rewrite(server, "pth", "path")
        wait_until(lambda: not server.status()["manifest_error"], "the error's end")
        assert server.version("a", 1)["pid"] == pid


def test_sighup_looks_at_once(folder: Path) -> None:
    with serving(folder, f"models: [{A}]", environment={"CORELANE_WATCH_INTERVAL_S": "1000"}) as server:
        rewrite(server, A, f"{A}, {B}")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: names(server) == ["a", "b"], "the new manifest")


def test_apply_refuses_what_is_invalid_or_needs_a_restart(folder: Path) -> None:
    with serving(folder, f"models: [{A}]") as server:
        text = server.manifest.read_text()
        for changed, message in (
            (text.replace("name: a", "nme: a"), "test.yaml:2:11: models.0..nme: is not a key; did you mean name?"),
            (text.replace("listen:", "host: {cores: 1}\nlisten:"), "host cannot change while the server runs"),
            (text.replace('grpc: "127.0.0.1:0"', 'grpc: "127.0.0.1:1"'), "listen cannot change while the server runs"),
        ):
            with pytest.raises(ControlError, match=message):
                server.apply(changed)
        assert names(server) == ["a"]


def test_roles_labels_and_traffic_change_without_a_new_worker(folder: Path) -> None:
    with serving(folder, f"models: [{A}]") as server, server.client() as client:
        pid = server.version("a", 1)["pid"]
        server.apply(
            server.manifest.read_text().replace(
                "path: a}", "path: a, versions: [{version: 1, role: ab, label: canary, traffic: 100}]}"
            )
        )
        found = wait_until(lambda: v if (v := server.version("a", 1))["label"] else None, "the label")
        assert (found["pid"], found["role"], found["traffic"]) == (pid, "ab", 100)
        wait_until(lambda: client.predict("a", {"x": [2.0]}, label="canary")["y"] == [2.0], "an answer by label")


def test_latest_two_and_all(folder: Path) -> None:
    for version in (2, 3):
        onnx_models.write_scale(folder / f"a/{version}", version)

    def available(server: Server) -> set[int]:
        return {v["version"] for v in server.status()["models"][0]["versions"] if v["state"] == "AVAILABLE"}

    with serving(folder, "models: [{name: a, path: a, versions: {latest: 2}}]") as server:
        wait_until(lambda: available(server) == {2, 3}, "two versions")
        server.apply(server.manifest.read_text().replace("latest: 2", "all: true"))
        wait_until(lambda: available(server) == {1, 2, 3}, "all versions")
        server.apply(server.manifest.read_text().replace("{latest: 2}", "[{version: 1}]"))
        wait_until(lambda: available(server) == {1}, "the listed version")


def test_ctrl_c_is_for_the_supervisor_and_ends_everything(folder: Path) -> None:
    with serving(folder, f"models: [{A}]") as server:
        children = server.processes()[1:]
        for child in children:
            child.send_signal(signal.SIGINT)
        with server.client() as client:
            assert client.predict("a", {"x": [1.0]})["y"] == [1.0]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        assert psutil.wait_procs(children, timeout=5)[1] == []
