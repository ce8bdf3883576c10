"""What a contained process can no longer do, and what a model that tries it gets."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.errors import RequestError
from corelane.processor.system import sandbox
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import LISTEN, serving

PROBE = """
import ctypes, json, os, socket, subprocess, sys, threading
from pathlib import Path
from corelane.processor.system.sandbox import contain

folder = Path(sys.argv[1])
held = contain("required", [folder / "model"], writable=[folder / "cache"])
libc = ctypes.CDLL(None, use_errno=True)

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return error.strerror
    except subprocess.CalledProcessError:
        return "Permission denied"
    return "done"

def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))

def in_thread(attempt):
    found = []
    thread = threading.Thread(target=lambda: found.append(outcome(attempt)))
    thread.start()
    thread.join()
    return found[0]

found = {
    "held": held,
    "read the model": outcome(lambda: (folder / "model/file").read_text()),
    "read a secret": outcome(lambda: (folder / "secret").read_text()),
    "read a secret in a thread": in_thread(lambda: (folder / "secret").read_text()),
    "read a secret in a child": outcome(lambda: subprocess.check_call(["/bin/cat", str(folder / "secret")])),
    "list the folder": outcome(lambda: os.listdir(folder)),
    "write the cache": outcome(lambda: (folder / "cache/file").write_text("x")),
    "write the model": outcome(lambda: (folder / "model/file").write_text("x")),
    "remove the model": outcome(lambda: (folder / "model/file").unlink()),
    "write elsewhere": outcome(lambda: (folder / "other").write_text("x")),
    "a TCP socket": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
    "a UDP socket": outcome(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    "a TCP socket in a thread": in_thread(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
    "a unix socket": outcome(lambda: socket.socket(socket.AF_UNIX).close()),
    "start a program": outcome(lambda: os.execv("/bin/true", ["true"])),
    "read the list of users": outcome(lambda: Path("/etc/passwd").read_text()),
    "read another's environment": outcome(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
    "read another's arguments": outcome(lambda: Path(f"/proc/{os.getppid()}/cmdline").read_bytes()),
    "read another's memory": outcome(lambda: open(f"/proc/{os.getppid()}/mem", "rb").read(1)),
    "read its own environment": outcome(lambda: Path("/proc/self/environ").read_bytes()),
    "read its own environment by thread": outcome(lambda: Path("/proc/thread-self/environ").read_bytes()),
    "read its own state": outcome(lambda: Path("/proc/self/status").read_text()),
    "read its thread's state": outcome(lambda: Path("/proc/thread-self/status").read_text()),
    "list temporary files": outcome(lambda: os.listdir("/tmp")),
    "write a temporary file": outcome(lambda: Path("/tmp/corelane-test").write_text("x")),
    "list devices": outcome(lambda: os.listdir("/dev")),
    "write to nowhere": outcome(lambda: Path("/dev/null").write_text("x")),
    "signal another": outcome(lambda: os.kill(os.getppid(), 0)),
    "signal itself": outcome(lambda: os.kill(os.getpid(), 0)),
    "open the model to all": outcome(lambda: (folder / "model/file").chmod(0o777)),
    "read another's memory by a call": outcome(lambda: syscall(310, os.getppid(), 0, 0, 0, 0, 0)),
    "trace": outcome(lambda: syscall(101, 16, os.getppid(), 0, 0)),
    "io_uring": outcome(lambda: syscall(425, 1, 0)),
    "mount": outcome(lambda: syscall(165, 0, 0, 0, 0, 0)),
}
print(json.dumps(found))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "model/file").write_text("a model")
    (tmp_path / "secret").write_text("swordfish")
    return tmp_path


def lacks() -> str:
    """What this kernel has not, in words."""
    code = "from corelane.processor.system.sandbox import contain\ncontain('required', [])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr.strip().splitlines()[-1]


needs_kernel = pytest.mark.skipif(lacks() != "", reason="the kernel lacks a layer")


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe numbers its calls as x86_64 does")
def test_what_is_left(folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", PROBE, str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert "swordfish" not in result.stdout
    assert (folder / "model/file").read_text() == "a model"
    assert not (folder / "other").exists()
    held = found.pop("held")
    assert [layer.split(":")[0] for layer in held] == ["no new privileges", "landlock", "seccomp"]
    done = {"read the model", "write the cache", "read its own state", "write to nowhere", "signal itself"}
    if "no signals" not in held[1]:
        done.add("signal another")
    refused = {name for name, what in found.items() if what in ("Permission denied", "Operation not permitted")}
    assert {name for name, what in found.items() if what == "done"} == done
    assert found.keys() == done | refused


@needs_kernel
def test_threads_that_are_there_would_not_be_contained() -> None:
    code = """
import threading, time
from corelane.processor.system import sandbox
sandbox._THREADS_WAIT_S = 0.05
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
sandbox.contain("required", [])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "host.sandbox is required, but the kernel lacks landlock: 2 threads are running already" in result.stderr


@needs_kernel
def test_modes() -> None:
    assert sandbox.contain("off", []) == []


def test_the_filter_names_what_it_should() -> None:
    for machine in ("x86_64", "aarch64"):
        program = sandbox._filter(machine)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 60


@needs_kernel
def test_a_model_that_reads_what_is_not_its_own_gets_an_error(
    tmp_path: Path, tensorflow_models: Path, fused_models: Path
) -> None:
    """By the graph's own ops, with a secret beside everything that the version may read."""
    shutil.copytree(tensorflow_models / "files", tmp_path / "m")
    shutil.copytree(fused_models / "hash", tmp_path / "fused")
    onnx_models.write_scale(tmp_path / "onnx/1", 1)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "words").write_text("a word")
    (shared / "key.pem").write_text("swordfish")
    (tmp_path / "m/1/assets").mkdir(exist_ok=True)
    for name, target in (
        ("words", shared / "words"),
        ("hosts", Path("/etc/hosts")),
        ("environ", Path(f"/proc/{os.getpid()}/environ")),
        ("around", tmp_path),
    ):
        (tmp_path / "m/1/assets" / name).symlink_to(target)
    manifest = (
        "models: [{name: m, path: m}, {name: fused, path: fused, engine: fused, precision: int8}"
        + "".join(f", {{name: {engine}, path: onnx, engine: {engine}}}" for engine in ("onnxruntime", "openvino"))
        + "]"
    )
    environment = {"CORELANE_API_KEY": "swordfish"}
    with serving(tmp_path, manifest, environment=environment) as server, Client(server.grpc) as client:
        log = server.log.read_text()
        assert "contained: no new privileges; landlock: reads its files, writes nothing" in log
        for link in ("hosts", "environ", "around"):
            assert f"link assets/{link} in {tmp_path}/m/1 is not followed" in log

        def read(path: object) -> bytes:
            return bytes(client.predict("m", {"path": str(path)})["content"].item())

        own = tmp_path / "m/1"
        assert len(read(own / "saved_model.pb")) > 100
        assert read(own / "assets/words") == b"a word"
        assert read("/proc/self/status") != b""
        supervisor, worker = server.process.pid, server.version("m", 1)["pid"]
        other = server.version("fused", 1)["pid"]
        (plan,) = (tmp_path / "cache/fused").glob("*/plan.json")
        secrets = [
            *(own / "assets/../../../shared/key.pem", own / "assets/hosts", own / "assets/environ"),
            *(own / "assets/around/shared/key.pem", shared / "key.pem", tmp_path / "manifest.yaml", plan),
            *("/etc/passwd", "/etc/shadow", "/etc/hosts"),
            *(f"/proc/{process}/{name}" for process in (supervisor, other) for name in ("environ", "cmdline", "maps")),
            *(
                f"/proc/{worker}/environ",
                "/proc/self/environ",
                "/proc/self/mem",
                f"/proc/{worker}/task/{worker}/environ",
            ),
        ]
        for path in secrets:
            with pytest.raises(RequestError, match=r"ermission|denied|permitted"):
                read(path)
        kept = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
        descriptors = Path(f"/proc/{worker}/fd")
        memory = [number.name for number in descriptors.iterdir() if "memfd:corelane" in os.readlink(number)]
        assert len(memory) >= 2
        for target in (
            *(plan, tmp_path / "cache/new", next((tmp_path / "cache/profiles").iterdir()), tmp_path / "stolen"),
            *(own / "saved_model.pb", Path("/tmp/corelane-stolen"), Path("/dev/shm/corelane-stolen")),
            *(Path(f"/proc/self/fd/{number}") for number in memory),
        ):
            with pytest.raises(RequestError, match=r"ermission|denied|permitted"):
                client.predict("m", {"path": str(target), "content": "x"}, signature="write")
        assert kept == {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
        for engine in ("onnxruntime", "openvino"):
            assert client.predict(engine, {"x": [2.0]})["y"].tolist() == [2.0]
        inputs = {"x": np.array([[b"v1"], [b""]], np.object_), "floats": np.ones((2, 3), np.float32)}
        assert client.predict("fused", inputs)["y"].shape == (2, 4)
        assert server.version("fused", 1)["engine"] == "fused"
        assert b"swordfish" not in Path(f"/proc/{worker}/environ").read_bytes()
    with (
        serving(tmp_path, "host: {sandbox: off}\nmodels: [{name: m, path: m}]") as server,
        Client(server.grpc) as client,
    ):
        assert client.predict("m", {"path": str(shared / "key.pem")})["content"].item() == b"swordfish", "it could"


def test_unknown_users_are_refused(tmp_path: Path) -> None:
    from corelane.processor.errors import ManifestError
    from corelane.processor.manifest import parse_manifest

    with pytest.raises(ManifestError, match="there is no user 'nobody-of-that-name' on this host"):
        parse_manifest("host: {worker_user: nobody-of-that-name}\nmodels: []", source="m", base=tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_user_who_cannot_run_workers_is_told_of_at_the_start(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(0o700)
    (locked / "python").symlink_to(sys.executable)
    (tmp_path / "m.yaml").write_text(f"{LISTEN}host: {{worker_user: nobody}}\nmodels: []\n")
    code = f"import sys; sys.executable = {str(locked / 'python')!r}; from corelane.commands.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(tmp_path / "m.yaml")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, "host.worker_user: nobody cannot run" in result.stderr) == (2, True)
