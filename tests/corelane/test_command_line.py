"""The commands as a user types them: output, exit codes, errors that say what to do."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError, RequestError
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


@pytest.mark.parametrize("arguments", [("nonesuch",), ("serve",), ("status", "--nonesuch"), ("--nonesuch",)])
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    result = corelane(*arguments)
    assert result.returncode == 2
    assert "usage: corelane" in result.stderr


def test_check(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MODELS)
    result = corelane("check", manifest)
    assert (result.returncode, result.stdout) == (0, f"{manifest}: valid, 1 model\n")
    assert "scale is not there; it will be served when it is" in result.stderr
    manifest.write_text("models: [{name: a, pth: b}]")
    result = corelane("check", manifest)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"{manifest}:1:10: models[0].path: is missing",
        "    1 | models: [{name: a, pth: b}]",
        "      |          ^",
        f"{manifest}:1:20: models[0].pth: is not a key; did you mean path?",
        "    1 | models: [{name: a, pth: b}]",
        "      |                    ^^^",
    ]
    assert corelane("serve", manifest).stderr == result.stderr
    answer = json.loads(corelane("check", manifest, "--json").stdout)
    assert (answer["valid"], len(answer["problems"])) == (False, 2)
    assert answer["details"][1] == {
        "severity": "error",
        "line": 1,
        "column": 20,
        "key": "models[0].pth",
        "message": "is not a key; did you mean path?",
    }


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
    assert header.split()[:4] == ["model", "version", "state", "traffic"]
    assert row.split()[:4] == ["scale", "7", "AVAILABLE", "-"]
    wide = corelane("status", "-o", "wide", "--admin", server.admin).stdout.splitlines()
    assert wide[2].split()[:5] == ["model", "version", "state", "role", "label"]
    assert wide[3].split()[:5] == ["scale", "7", "AVAILABLE", "baseline", "-"]
    answer = json.loads(corelane("status", "--json", CORELANE_ADMIN=server.admin).stdout)
    assert answer["schema"] == 1
    assert answer["models"][0]["versions"][0]["engine"] == "onnxruntime"


def test_status_without_a_server() -> None:
    result = corelane("status", "--admin", "127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.startswith("corelane status: no server answers on 127.0.0.1:9 (")
    assert "no server answers on [::1 (" in corelane("status", "--admin", "[::1").stderr
    assert "is `corelane serve` running there? see --admin" in result.stderr


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
        (("scale", "--inputs", "[1]"), "row 0 of the inputs is no dict but int"),
        (("scale", "--inputs", "3"), "inputs are neither JSON nor a file of it"),
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
        said = [f"  scale is added: {tmp_path}/scale, the latest 1", f"applied {changed}; see `corelane status`"]
        assert (result.returncode, result.stdout.splitlines()) == (0, said)
        own.wait_state("scale", 1, "AVAILABLE")
        assert corelane("apply", changed, "--admin", own.admin).stdout.startswith(
            "  nothing changes: the server serves"
        )
        changed.write_text(LISTEN + "models: []\n")
        result = corelane("apply", changed, "--admin", own.admin)
        assert (result.returncode, "say `--yes` if it should" in result.stderr) == (1, True)
        result = corelane("apply", changed, "--yes", "--dry-run", "--admin", own.admin)
        assert (result.returncode, result.stdout) == (0, "  scale is removed: its versions are unloaded\n")
        assert own.version("scale", 1)["state"] == "AVAILABLE"
        more = "models: [{name: scale, path: scale, slo_p99_ms: 5}, {name: b, path: scale}]\n"
        changed.write_text(LISTEN + more)
        result = corelane("apply", changed, "--wait", "--admin", own.admin)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == "every version is available"
        assert "  scale: slo_p99_ms not set -> 5" in result.stdout.splitlines()
        assert own.version("b", 1)["state"] == "AVAILABLE"
        (tmp_path / "bad/1").mkdir(parents=True)
        (tmp_path / "bad/1/model.onnx").write_bytes(b"none")
        changed.write_text(LISTEN + more.replace("]", ", {name: bad, path: bad}]"))
        result = corelane("apply", changed, "--wait", "--admin", own.admin)
        assert (result.returncode, "bad/1 FAILED: " in result.stderr) == (1, True)
        changed.write_text("models: 3")
        result = corelane("apply", changed, "--admin", own.admin)
        assert result.returncode == 2
        assert result.stderr.startswith(f"{changed}:1:9: models: ")
        changed.write_text(LISTEN + "host: {drain_s: 1}\nmodels: []\n")
        result = corelane("apply", changed, "--admin", own.admin)
        assert (result.returncode, "host cannot change while the server runs" in result.stderr) == (1, True)
        assert own.version("scale", 1)["state"] == "AVAILABLE"


def test_demo_end_to_end(tmp_path: Path) -> None:
    """The whole of `make demo` but for its ports and its length."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "corelane", "demo", "--folder", str(tmp_path), "--short", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    rows = [line.split() for line in result.stdout.splitlines() if " 0e+00 " in line or "e-" in line]
    served = [row for row in rows if row[0].startswith("ctr")]
    assert {(row[0], row[1]) for row in served} == {
        *(("ctr", version) for version in "1234"),
        ("ctr_dlrm", "2"),
        ("ctr_dcn", "1"),
    }
    assert all(row[4] in ("fp32", "bf16") for row in served)
    assert all(float(row[8]) > 0.6 for row in served), "every model learned the planted signal"
    story = (
        "== A canary, promoted and rolled back",
        "corelane promote ctr 4\n     version 4 answered",
        "kill -9 ",
        "ctr_dlrm/2 is copied beside ctr_dlrm/1",
        "without the scheduler",
        "9 columns fused",
        "0 calls failed of ",
    )
    places = [result.stdout.find(sentence) for sentence in story]
    assert -1 not in places and places == sorted(places), result.stdout
    assert result.stdout.endswith("both servers drained and exited 0.\n")
    address = re.search(r"gRPC on 127\.0\.0\.1:(\d+),", (tmp_path / "demo-models/served.log").read_text())
    assert address is not None
    wait_until(lambda: _is_free(int(address[1])), "the port")
    assert sorted(path.name for path in (tmp_path / "demo-models/ctr_dlrm").iterdir()) == ["1"]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stats",), "there is no command stats; did you mean status?"),
        (("promoet", "a"), "there is no command promoet; did you mean promote?"),
        (("status", "--jsn"), "unrecognized arguments: --jsn; did you mean --json?"),
        (("apply", "m.yaml", "--dryrun"), "did you mean --dry-run?"),
        (("zzzz",), "there is no command zzzz"),
    ],
)
def test_what_may_have_been_meant(arguments: tuple[str, ...], said: str) -> None:
    result = corelane(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "usage: corelane" in result.stderr


def test_alone_it_shows_its_help() -> None:
    alone = corelane()
    assert (alone.returncode, alone.stdout) == (0, corelane("--help").stdout)
    assert corelane("--version").stdout.startswith("corelane ")


def test_of_one_model_or_version(server: Server) -> None:
    for name in ("scale", "scale/7"):
        text = corelane("status", name, "--admin", server.admin).stdout
        for said in (
            "engine       onnxruntime: ",
            "precision    fp32: ",
            "loaded in ",
            "last events",
            "AVAILABLE after",
        ):
            assert said in text, said
    for wrong, said in (
        ("scael", "there is no model scael; did you mean scale?"),
        ("scale/8", "there is no version 8 of model scale"),
        ("scale/x", "there is no model scale/x"),
    ):
        result = corelane("status", wrong, "--admin", server.admin)
        assert (result.returncode, said in result.stderr) == (1, True), result.stderr


def test_events_and_logs(server: Server) -> None:
    text = corelane("events", "scale/7", "--admin", server.admin).stdout
    assert "loading     scale/7: loading " in text
    assert "available   scale/7: AVAILABLE after" in text
    assert len(corelane("events", "-n", "2", "--admin", server.admin).stdout.splitlines()) == 2
    events = json.loads(corelane("events", "--json", "--admin", server.admin).stdout)["events"]
    assert {"started", "loading", "available"} <= {event["kind"] for event in events}
    lines = corelane("logs", "scale", "--admin", server.admin).stdout.splitlines()
    assert any("[scale/7] INFO corelane.processor.worker.process: contained" in line for line in lines)
    assert all("[scale/7]" in line or "[scale]" in line for line in lines)
    assert len(corelane("logs", "-n", "3", "--admin", server.admin).stdout.splitlines()) == 3
    assert "there is no model other" in corelane("logs", "other", "--admin", server.admin).stderr


@pytest.mark.parametrize(
    "command", [("events", "--follow"), ("logs", "--follow"), ("status", "--watch", "0.2"), ("top",)]
)
def test_what_goes_on_ends_with_ctrl_c(server: Server, command: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "corelane", *command, "--admin", server.admin],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert errors == ""


def test_top(server: Server) -> None:
    stop = threading.Event()

    def call() -> None:
        with server.client() as client:
            while not stop.is_set():
                with contextlib.suppress(RequestError):  # a busy machine
                    client.predict("scale", {"x": [1.0]}, timeout_s=20)

    caller = threading.Thread(target=call)
    caller.start()
    text = corelane("top", "--once", "--interval", "1", "--admin", server.admin).stdout
    stop.set()
    caller.join()
    header, row = text.splitlines()[2:4]
    assert header.split()[:2] == ["version", "req/s"]
    assert row.split()[0] == "scale/7"
    assert float(row.split()[1]) > 1


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_fits_the_terminal(server: Server, columns: int) -> None:
    """A pseudo terminal of that width: colours, and no line that wraps; the state is whole."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "corelane", "status", "--admin", server.admin],
        stdout=theirs,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    data = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(ours, 1 << 16):
            data += more
    os.close(ours)
    assert process.wait(60) == 0
    text = data.decode()
    assert "\x1b[32mAVAILABLE" in text
    table = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()[2:4]
    assert max(map(len, table)) <= columns
    assert table[0].split()[-1] == "age"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(server: Server, shell: str) -> None:
    result = corelane("completion", shell)
    assert result.returncode == 0
    assert "corelane" in result.stdout
    if shell != "bash":
        return
    # As bash asks: what it wants comes by descriptor 8.
    for line, expected in (("corelane pro", "promote"), (f"corelane status --admin {server.admin} sc", "scale")):
        with tempfile.TemporaryFile("w+") as answer:
            asked = subprocess.run(
                ["bash", "-c", f"{sys.executable} -P -m corelane 8>&{answer.fileno()} 9>/dev/null"],
                pass_fds=[answer.fileno()],
                env={
                    **os.environ,
                    "_ARGCOMPLETE": "1",
                    "_ARGCOMPLETE_IFS": "\013",
                    "COMP_LINE": line,
                    "COMP_POINT": str(len(line)),
                    "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
                },
                check=False,
            )
            answer.seek(0)
            assert expected in answer.read(), asked


def test_a_server_that_does_not_answer_is_no_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ControlError, match=rf"the server at {address} did not answer within 0\.2 s$"):
            call_admin(address, "/v1/status", timeout_s=0.2)
        with pytest.raises(ControlError, match=r"within 0\.2 s; what was asked may still be done$"):
            call_admin(address, "/v1/apply", {}, timeout_s=0.2)


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("models: []\n")
    command = [sys.executable, "-P", "-m", "corelane", "check", str(tmp_path / "m.yaml")]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (
        1,
        "corelane check: the output cannot be written: No space left on device",
    )
    result = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)
