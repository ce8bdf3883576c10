"""What a contained process can no longer do, and what a model that tries it gets."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from corelane.client import Client
from processor.errors import RequestError
from processor.worker import sandbox
from tests.support.server import LISTEN, serving

PROBE = """
import ctypes, json, os, socket, subprocess, sys, threading
from pathlib import Path
from processor.worker.sandbox import contain

folder = Path(sys.argv[1])
held = contain("required", [folder / "model"], [folder / "cache"])
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
    "trace": outcome(lambda: syscall(101, 16, os.getppid(), 0, 0)),
    "io_uring": outcome(lambda: syscall(425, 1, 0)),
    "mount": outcome(lambda: syscall(165, 0, 0, 0, 0, 0)),
}
print(json.dumps(found))
"""

# Where a contained process has no business: not below a temporary folder, which it may write.
HOME = Path.home()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "model/file").write_text("a model")
    (tmp_path / "secret").write_text("swordfish")
    return tmp_path


def lacks() -> str:
    """What this kernel has not, in words."""
    code = "from processor.worker.sandbox import contain\ncontain('required', [], [])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr.strip().splitlines()[-1]


needs_kernel = pytest.mark.skipif(lacks() != "", reason="the kernel lacks a layer")


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe numbers its calls as x86_64 does")
def test_what_is_left(folder: Path) -> None:
    home = Path(tempfile.mkdtemp(dir=HOME, prefix=".corelane-test-"))
    try:
        shutil.copytree(folder, home, dirs_exist_ok=True)
        result = subprocess.run([sys.executable, "-c", PROBE, str(home)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout.splitlines()[-1])
        assert "swordfish" not in result.stdout
        assert (home / "model/file").read_text() == "a model"
        assert not (home / "other").exists()
    finally:
        shutil.rmtree(home)
    assert [layer.split(":")[0] for layer in found.pop("held")] == ["no new privileges", "landlock", "seccomp"]
    done = {"read the model", "write the cache", "a unix socket"}
    refused = {name for name, what in found.items() if what in ("Permission denied", "Operation not permitted")}
    assert {name for name, what in found.items() if what == "done"} == done
    assert found.keys() == done | refused


@needs_kernel
def test_modes() -> None:
    assert sandbox.contain("off", [], []) == []


def test_the_filter_names_what_it_should() -> None:
    for machine in ("x86_64", "aarch64"):
        program = sandbox._filter(machine)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 60


@needs_kernel
def test_a_model_that_reads_a_secret_or_writes_gets_an_error(tmp_path: Path, tensorflow_models: Path) -> None:
    home = Path(tempfile.mkdtemp(dir=HOME, prefix=".corelane-test-"))
    try:
        shutil.copytree(tensorflow_models / "files", home / "m")
        (home / "secret").write_text("swordfish")
        with serving(home, "models: [{name: m, path: m}]") as server, Client(server.grpc) as client:
            assert "contained: no new privileges; landlock" in server.log.read_text()
            own = str(home / "m/1/saved_model.pb")
            assert len(client.predict("m", {"path": own})["content"].item()) > 100, "its own files it may read"
            with pytest.raises(RequestError, match=r"ermission|denied"):
                client.predict("m", {"path": str(home / "secret")})
            with pytest.raises(RequestError, match=r"ermission|denied"):
                client.predict("m", {"path": str(home / "stolen"), "content": "x"}, signature="write")
        assert not (home / "stolen").exists()
        with (
            serving(home, "host: {sandbox: off}\nmodels: [{name: m, path: m}]") as server,
            Client(server.grpc) as client,
        ):
            assert client.predict("m", {"path": str(home / "secret")})["content"].item() == b"swordfish", "it could"
    finally:
        shutil.rmtree(home)


def test_unknown_users_are_refused(tmp_path: Path) -> None:
    from processor.errors import ManifestError
    from processor.manifest import parse_manifest

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
