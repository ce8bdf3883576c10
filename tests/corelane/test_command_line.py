"""The commands as a user types them: output, exit codes, errors that say what to do."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import onnx_models
from tests.support.server import LISTEN, Server, serving, wait_until

COMMANDS = ("demo", "serve", "check", "apply", "status", "report", "plan", "profile", "predict")
MODELS = "models: [{name: scale, path: scale}]\n"


def corelane(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "corelane", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_scale(folder / "scale/7", 2)
    with serving(folder, MODELS) as running:
        yield running


def test_help_teaches() -> None:
    result = corelane("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f"    {command} " in result.stdout
        own = corelane(command, "--help")
        assert own.returncode == 0
        assert f"  corelane {command}" in own.stdout, "an example"


@pytest.mark.parametrize("arguments", [(), ("nonesuch",), ("serve",), ("status", "--nonesuch")])
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    result = corelane(*arguments)
    assert result.returncode == 2
    assert "usage: corelane" in result.stderr


def test_check(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MODELS)
    result = corelane("check", manifest)
    assert (result.returncode, result.stdout) == (0, f"{manifest}: valid, 1 models\n")
    assert "scale is not there; it will be served when it is" in result.stderr
    manifest.write_text("models: [{name: a, pth: b}]")
    result = corelane("check", manifest)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"{manifest}:1: models[0].path is missing",
        f"{manifest}:1: models[0].pth is not a key; did you mean path?",
    ]
    answer = json.loads(corelane("check", manifest, "--json").stdout)
    assert (answer["valid"], len(answer["problems"])) == (False, 2)


def test_serve_refuses_what_it_cannot_start(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    result = corelane("serve", manifest)
    assert (result.returncode, result.stderr) == (2, f"{manifest}: cannot be read: No such file or directory\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        for other, listen in (("grpc", "admin"), ("admin", "grpc")):
            manifest.write_text(
                f'listen: {{{other}: "127.0.0.1:0", http: none, {listen}: "127.0.0.1:{port}"}}\nmodels: []\n'
            )
            result = corelane("serve", manifest)
            assert result.returncode == 2
            assert result.stderr.splitlines()[-1] == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    manifest.write_text(LISTEN + "models: []\n")
    result = corelane("serve", manifest, CORELANE_SETTLE_S="soon")
    assert (result.returncode, "CORELANE_SETTLE_S should be a number" in result.stderr) == (2, True)


def test_two_servers_do_not_share_a_port(server: Server, tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f'listen: {{grpc: "{server.grpc}", http: none, admin: "127.0.0.1:0"}}\nmodels: []\n')
    result = corelane("serve", manifest)
    assert (result.returncode, f"cannot listen on {server.grpc}" in result.stderr) == (2, True)


def test_ctrl_c_while_serving(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(LISTEN + "models: []\n")
    running = Server(manifest, tmp_path / "log").wait_ready()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    assert "Traceback" not in running.log.read_text()


def test_status(server: Server) -> None:
    result = corelane("status", "--admin", server.admin)
    assert result.returncode == 0
    assert result.stdout.startswith(f"gRPC on {server.grpc}, ready, 2 gateways, up ")
    header, row = result.stdout.splitlines()[2:4]
    assert header.split()[:4] == ["model", "version", "state", "role"]
    assert row.split()[:4] == ["scale", "7", "AVAILABLE", "baseline"]
    answer = json.loads(corelane("status", "--json", CORELANE_ADMIN=server.admin).stdout)
    assert answer["schema"] == 1
    assert answer["models"][0]["versions"][0]["engine"] == "onnxruntime"


def test_status_without_a_server() -> None:
    result = corelane("status", "--admin", "127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.startswith("corelane status: no server answers on 127.0.0.1:9 (")
    assert "is `corelane serve` running? see --admin" in result.stderr


def test_predict(server: Server, tmp_path: Path) -> None:
    at = ("--server", server.grpc)
    result = corelane("predict", "scale", *at)
    assert result.stdout == "signature serving_default\n  input x: DT_FLOAT [-1]\n  output y: DT_FLOAT [-1]\n"
    result = corelane("predict", "scale", *at, "--inputs", '{"x": [1, 2.5]}')
    assert result.stdout == "scale/7\n  y [2]: [2.0, 5.0]\n"
    np.savez(tmp_path / "in.npz", x=np.float32([3]))
    result = corelane("predict", "scale", *at, "--inputs", tmp_path / "in.npz", "--version", 7, "--json")
    assert json.loads(result.stdout) == {"model": "scale", "version": 7, "outputs": {"y": [6.0]}}
    result = corelane("predict", "scale", *at, "--inputs", "-", stdin='{"x": [4]}')
    assert result.stdout == "scale/7\n  y [1]: [8.0]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonesuch",), "Servable not found for request: Latest(nonesuch)"),
        (("scale", "--inputs", '{"z": [1]}'), "Signature input alias: x(feed name: x) not found in request"),
        (("scale", "--inputs", '{"x": ["a"]}'), "input \"x\": 'a' is text, the model takes float"),
        (("scale", "--inputs", "[1]"), "inputs are neither JSON nor a file of it"),
        (("scale", "--inputs", "none.npz"), "none.npz cannot be read"),
    ],
)
def test_predict_that_fails(server: Server, arguments: tuple[str, ...], message: str) -> None:
    result = corelane("predict", *arguments, "--server", server.grpc)
    assert result.returncode == 1
    assert result.stderr.startswith("corelane predict: ")
    assert message in result.stderr


def test_apply(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 1)
    with serving(tmp_path, "models: []\n") as own:
        changed = tmp_path / "changed.yaml"
        changed.write_text(LISTEN + MODELS)
        result = corelane("apply", changed, "--admin", own.admin)
        assert (result.returncode, result.stdout) == (0, f"applied {changed}; see `corelane status`\n")
        own.wait_state("scale", 1, "AVAILABLE")
        changed.write_text("models: 3")
        result = corelane("apply", changed, "--admin", own.admin)
        assert result.returncode == 2
        assert result.stderr.startswith(f"{changed}:1: models: ")
        changed.write_text(LISTEN + "host: {drain_s: 1}\nmodels: []\n")
        result = corelane("apply", changed, "--admin", own.admin)
        assert (result.returncode, "host cannot change while the server runs" in result.stderr) == (1, True)
        assert own.version("scale", 1)["state"] == "AVAILABLE"


def test_demo_end_to_end(tmp_path: Path) -> None:
    """The whole of `make demo` but for its ports and its length."""
    (tmp_path / "configs").mkdir()
    manifest = Path("configs/demo.yaml").read_text()
    ports = []
    for port in (8500, 8501, 8502):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
        manifest = manifest.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[-1]}")
    (tmp_path / "configs/demo.yaml").write_text(manifest)
    result = subprocess.run(
        [sys.executable, "-P", "-m", "corelane", "demo", "--folder", str(tmp_path), "--short"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    rows = [line.split() for line in result.stdout.splitlines() if " 0e+00 " in line or "e-" in line]
    assert [row[:2] for row in rows] == [
        ["ctr", "1"],
        ["ctr", "2"],
        ["ctr", "3"],
        ["ctr", "4"],
        ["ctr_dlrm", "1"],
        ["ctr_dcn", "1"],
    ]
    assert all(row[4] in ("fp32", "bf16") for row in rows)
    assert all(float(row[9]) > 0.6 for row in rows), "every model learned the planted signal"
    assert result.stdout.endswith("The server drained and exited 0.\n")
    wait_until(lambda: _is_free(ports[0]), "the port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
