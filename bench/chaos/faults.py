"""What is done to the server: a function for each kind of fault, with what it may cost.

A fault returns when it has been done and undone; `Chaos.recover` then waits until everything answers again."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil

from bench.chaos.ledger import NOTHING, SLOW, UNAVAILABLE, Allowance, WrongAnswer
from bench.chaos.models import LINKED, MANIFEST, OTHER
from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError, InvalidRequest
from corelane.processor.wire import messages
from corelane.processor.wire.status import error_of_call
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST
from tests.support.server import wait_until as wait_until_s
from tests.support.threads import in_threads

if TYPE_CHECKING:
    from bench.chaos.run import Chaos


_WAIT_S = 120.0


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = _WAIT_S) -> Any:
    return wait_until_s(condition, what, timeout_s)


class Skipped(Exception):
    """This machine or user cannot have that fault; says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    allowance: Allowance
    inject: Callable[["Chaos"], None]


FAULTS: list[Fault] = []


def fault(name: str, *errors: type[Exception], models: tuple[str, ...] = ()) -> Callable[..., Callable[..., None]]:
    """Adds a kind of fault. Calls of `models` (all, if none is named) may fail by `errors` until it is over."""

    def add(inject: Callable[["Chaos"], None]) -> Callable[["Chaos"], None]:
        FAULTS.append(Fault(name, Allowance(errors=errors, models=frozenset(models)) if errors else NOTHING, inject))
        return inject

    return add


# Processes


@fault("worker killed", *UNAVAILABLE)
def _kill_worker(chaos: "Chaos") -> None:
    chaos.signal(chaos.source.choice(chaos.workers()), signal.SIGKILL)


@fault("gateway killed", *UNAVAILABLE)
def _kill_gateway(chaos: "Chaos") -> None:
    chaos.signal(chaos.source.choice(chaos.gateways()), signal.SIGKILL)


@fault("half of all processes killed", *UNAVAILABLE)
def _kill_many(chaos: "Chaos") -> None:
    children = chaos.workers() + chaos.gateways()
    for pid in chaos.source.sample(children, len(children) // 2):
        chaos.signal(pid, signal.SIGKILL)


@fault("worker killed while it loads", *UNAVAILABLE)
def _kill_load(chaos: "Chaos") -> None:
    killed = chaos.source.choice(chaos.workers())
    chaos.signal(killed, signal.SIGKILL)
    before = set(chaos.children())

    def started() -> int | None:
        return next((pid for pid in chaos.children() if pid not in before and pid != killed), None)

    with contextlib.suppress(AssertionError):
        chaos.signal(wait_until(started, "the worker's successor", 5), signal.SIGKILL)


@fault("worker stopped (SIGSTOP)", *SLOW)
def _stop_worker(chaos: "Chaos") -> None:
    _stop(chaos, chaos.source.choice(chaos.workers()))


@fault("gateway stopped (SIGSTOP)", *SLOW)
def _stop_gateway(chaos: "Chaos") -> None:
    _stop(chaos, chaos.source.choice(chaos.gateways()))


def _stop(chaos: "Chaos", pid: int) -> None:
    """Until the supervisor has noticed and replaced it."""
    chaos.signal(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not psutil.pid_exists(pid), f"the end of process {pid}, which is stopped")
    finally:
        chaos.signal(pid, signal.SIGCONT)


@fault("supervisor stopped for 3 s")
def _stop_supervisor(chaos: "Chaos") -> None:
    chaos.signal(chaos.server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(3)
    finally:
        chaos.signal(chaos.server.process.pid, signal.SIGCONT)


@fault("out of descriptors as a worker is killed", *UNAVAILABLE)
def _no_descriptors(chaos: "Chaos") -> None:
    victim = chaos.source.choice(chaos.workers())
    supervisor = psutil.Process(chaos.server.process.pid)
    soft, hard = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds(), hard))
    try:
        chaos.signal(victim, signal.SIGKILL)
        time.sleep(1.5)
    finally:
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))


@fault("SIGHUP 100 times")
def _sighup(chaos: "Chaos") -> None:
    for _ in range(100):
        chaos.signal(chaos.server.process.pid, signal.SIGHUP)
        time.sleep(0.005)


# Models


@fault("new version copied, old one deleted")
def _replace_version(chaos: "Chaos") -> None:
    folder = chaos.folder / "latest"
    (last,) = sorted(int(path.name) for path in folder.iterdir())
    onnx_models.write_scale(folder / str(last + 1), last + 1)
    chaos.server.wait_state("latest", last + 1, "AVAILABLE", _WAIT_S)
    shutil.rmtree(folder / str(last))


@fault("ten versions within a second")
def _many_versions(chaos: "Chaos") -> None:
    folder = chaos.folder / "latest"
    (last,) = sorted(int(path.name) for path in folder.iterdir())
    for version in range(last + 1, last + 11):
        onnx_models.write_scale(folder / str(version), version)
        time.sleep(0.05)
    chaos.server.wait_state("latest", last + 10, "AVAILABLE", _WAIT_S)
    for version in range(last, last + 10):
        shutil.rmtree(folder / str(version))


@fault("version copied in halves")
def _copy_in_halves(chaos: "Chaos") -> None:
    source, target = chaos.folder / "ads/1", chaos.folder / "ads/2"
    target.mkdir()
    shutil.copy(source / "saved_model.pb", target)
    time.sleep(2)
    assert chaos.server.version("ads", 2).get("state") in (None, "WAITING"), "half a version is loaded"
    shutil.copytree(source, target, dirs_exist_ok=True)
    chaos.server.wait_state("ads", 2, "AVAILABLE", _WAIT_S)
    shutil.rmtree(target)


@fault("version whose files are garbage")
def _garbage_version(chaos: "Chaos") -> None:
    (last,) = sorted(int(path.name) for path in (chaos.folder / "latest").iterdir())
    folder = chaos.folder / f"latest/{last + 1}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(chaos.source.randbytes(chaos.source.randint(0, 5000)))
    wait_until(lambda: chaos.server.version("latest", last + 1).get("error"), "the failed load's reason")
    assert chaos.server.version("latest", last)["state"] == "AVAILABLE", "the version before is gone"
    shutil.rmtree(folder)


@fault("link switched to other content")
def _switch_link(chaos: "Chaos") -> None:
    link = chaos.folder / "linked/1"
    now = "content_b" if link.readlink().name == "content_a" else "content_a"
    before = chaos.server.version("linked", 1)["pid"]
    chaos.callers.linked = set(LINKED.values())
    fresh = chaos.folder / "fresh"
    fresh.symlink_to(chaos.folder / now)
    fresh.replace(link)
    wait_until(
        lambda: (version := chaos.server.version("linked", 1))["state"] == "AVAILABLE" and version["pid"] != before,
        "a worker of the new content",
    )
    time.sleep(0.2)  # calls that were under way
    chaos.callers.linked = {LINKED[now]}


@fault("cache damaged, then its worker killed", *UNAVAILABLE, models=("ads",))
def _damage_cache(chaos: "Chaos") -> None:
    files = [path for path in (chaos.folder / "cache").rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert files, "there is no cache"
    for path in chaos.source.sample(files, (len(files) + 1) // 2):
        # Another file in its place, as a bad copy leaves it: what is written into a mapped one is served at once.
        data = bytearray(path.read_bytes())
        at = chaos.source.randrange(len(data))
        if chaos.source.random() < 0.5:
            del data[at:]
        else:
            data[at : at + 16] = chaos.source.randbytes(16)
        bad = path.with_name(f"{path.name}.bad")
        bad.write_bytes(data)
        bad.replace(path)
    pid = chaos.server.version("ads", 1)["pid"]
    if pid is not None:
        chaos.signal(pid, signal.SIGKILL)


@fault("model loaded and unloaded by apply")
def _load_other(chaos: "Chaos") -> None:
    chaos.server.apply(WITH_REST + MANIFEST + OTHER)
    chaos.server.wait_state("other", 1, "AVAILABLE", _WAIT_S)
    with Client(chaos.server.grpc) as client:
        assert client.predict("other", {"x": [3.0]}, timeout_s=20)["y"].tolist() == [3.0]
    chaos.server.apply(WITH_REST + MANIFEST)


# Operators


@fault("promoted and rolled back")
def _promote(chaos: "Chaos") -> None:
    for action, body in (("promote", {"version": 2}), ("rollback", {})):
        call_admin(chaos.server.admin, "/v1/traffic", {"action": action, "model": "split", **body})


@fault("bad commands")
def _bad_commands(chaos: "Chaos") -> None:
    before = chaos.server.manifest.read_text()
    shares = [{"1": "nan"}, {"1": -1, "2": 101}, {"1": 1e400}, {"9": 100}, {}, {"x": 1}]
    bodies = [{"action": "split", "model": "split", "shares": chosen} for chosen in shares]
    bodies += [{"action": "promote", "model": name, "version": 1} for name in ("none", "a\0b", "n" * 100_000)]
    for path, body in [*(("/v1/traffic", body) for body in bodies), ("/v1/apply", {"manifest": "{", "base": "/"})]:
        try:
            answer = call_admin(chaos.server.admin, path, body)
        except ControlError:
            continue
        chaos.ledger.problem(f"{path} took {str(body)[:100]}: {str(answer)[:200]}")
    if chaos.server.manifest.read_text() != before:
        chaos.ledger.problem("a refused command changed the manifest")


@fault("broken manifest on disk")
def _break_manifest(chaos: "Chaos") -> None:
    before = chaos.server.manifest.read_text()
    aliases = "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{f'*{chr(97 + i)},' * 9}]\n" for i in range(8))
    for text in ("models: [", before.replace("split", "\0", 1), aliases, "x" * 100_000):
        chaos.server.manifest.write_text(text)
        wait_until(lambda: chaos.server.status()["manifest_error"], "the manifest's problem")
        chaos.server.manifest.write_text(before)
        wait_until(lambda: not chaos.server.status()["manifest_error"], "the manifest is fine again")


@fault("commands by eights")
def _command_line(chaos: "Chaos") -> None:
    commands = [["status", "--json"], ["report"], ["status"], ["report", "--json"]] * 2
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "corelane", *command, "--admin", chaos.server.admin],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for command in commands
    ]
    for command, process in zip(commands, running, strict=True):
        _, error = process.communicate(timeout=120)
        if process.returncode != 0:
            chaos.ledger.problem(f"corelane {' '.join(command)} exits {process.returncode}: {error.decode()[-200:]}")


# Clients


@fault("200 clients that vanish")
def _vanish(chaos: "Chaos") -> None:
    request = messages.PredictRequest()
    request.model_spec.name = "split"
    channels = [grpc.insecure_channel(chaos.server.grpc, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(20)]
    calls = [
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict").future(
            request.SerializeToString(), timeout=20
        )
        for channel in channels
        for _ in range(5)
    ]
    for channel in channels:
        channel.close()
    del calls
    head = b"POST /v1/models/split:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    for _ in range(100):
        with socket.create_connection(_place(chaos.server.http), timeout=20) as connection:
            connection.sendall(head)


@fault("half-sent requests at every port")
def _half_sent(chaos: "Chaos") -> None:
    with contextlib.ExitStack() as stack:
        for address in (chaos.server.grpc, chaos.server.http, chaos.server.admin):
            for half in (b"POST /v1/models/split:pre", b"PRI * HTTP/2.0\r\n\r\nSM", b"\x16\x03\x01"):
                for _ in range(10):
                    connection = socket.create_connection(_place(address), timeout=20)
                    stack.enter_context(connection).sendall(half)
        time.sleep(1)


@fault("300 idle connections as a worker is killed", *UNAVAILABLE)
def _idle(chaos: "Chaos") -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            address = (chaos.server.grpc, chaos.server.http, chaos.server.admin)[number % 3]
            stack.enter_context(socket.create_connection(_place(address), timeout=20))
        chaos.signal(chaos.source.choice(chaos.workers()), signal.SIGKILL)
        chaos.recover()


def _place(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)


@fault("hostile requests")
def _hostile(chaos: "Chaos") -> None:
    """Each gets an error that says that it is the client's."""
    with grpc.insecure_channel(chaos.server.grpc) as channel:
        for method in ("tensorflow.serving.PredictionService/Predict", "inference.GRPCInferenceService/ModelInfer"):
            for body in _bodies(chaos.source):
                try:
                    channel.unary_unary(f"/{method}")(body, timeout=20)
                except grpc.RpcError as error:
                    if error.code() not in _CLIENTS_FAULT:
                        chaos.ledger.problem(f"{method} of {body[:40]!r}: {error.code()}: {error.details()}"[:300])
                else:
                    chaos.ledger.problem(f"{method} took {body[:40]!r}")
    bodies = [b"", b"{", b"[" * 10_000, b'{"instances": [1e999]}', b'{"instances": "' + b"\xff" * 100, b"nul\0"]
    for path in ("/v1/models/split:predict", "/v1/models/n%00:predict", "/v2/models/split/infer", "/v1/" + "x" * 5000):
        for body in bodies:
            answer = ask(chaos.server.http, "POST", path, body, {"Content-Type": "application/json"})
            if not 400 <= answer.status < 500:
                chaos.ledger.problem(f"{path[:40]} of {body[:40]!r}: {answer.status} {answer.body[:200]!r}")


_CLIENTS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def _bodies(source: random.Random) -> list[bytes]:
    request = messages.PredictRequest()
    request.model_spec.name = "split"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=2**40)
    huge = request.SerializeToString()
    request.model_spec.name = "n" * 1_000_000
    return [b"", source.randbytes(1000), b"\x0a\xff\xff\xff\xff\x0f", huge, huge[:-3], request.SerializeToString()]


@fault("bad names by the reload call")
def _bad_reload(chaos: "Chaos") -> None:
    for name, path in (("a\0b", "/x"), ("n" * 200_000, "/x"), ("m", "/x\0y"), ("m", "p" * 100_000), ("", "/x")):
        request = messages.ReloadConfigRequest()
        request.config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
        with grpc.insecure_channel(chaos.server.grpc) as channel:
            method = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
            try:
                method(request.SerializeToString(), timeout=20)
            except grpc.RpcError as error:
                found = error_of_call(error)
                if not isinstance(found, InvalidRequest):
                    chaos.ledger.problem(f"a reload of {name[:20]!r}: {type(found).__name__}: {found}")
            else:
                chaos.ledger.problem(f"a reload took {name[:20]!r} {path[:20]!r}")


@fault("64 callers at once", *SLOW)
def _burst(chaos: "Chaos") -> None:
    end_s = time.monotonic() + 1.5

    def call(number: int) -> None:
        with Client(chaos.server.grpc) as client:
            while time.monotonic() < end_s:

                def ask_once() -> int:
                    y = client.predict("split", {"x": [2.0]}, version=2, timeout_s=20)["y"]
                    if y.tolist() != [4.0]:
                        raise WrongAnswer(f"split/2: 2 gave {y.tolist()}")
                    return 1

                chaos.ledger.call("burst", "split", ask_once, 20)

    in_threads(64, call)


@fault("large requests among small ones", *SLOW)
def _large(chaos: "Chaos") -> None:
    x = np.arange(2_000_000, dtype=np.float32)
    with Client(chaos.server.grpc) as client:
        for version in (1, 2):

            def call(version: int = version) -> int:
                y = client.predict("split", {"x": x}, version=version, timeout_s=60)["y"]
                if not np.array_equal(y, x * np.float32(version)):
                    raise WrongAnswer(f"split/{version}: a large answer is wrong")
                return 1

            chaos.ledger.call("large", "split", call, 60)


# The disk


@fault("full disk under the request log")
def _full_disk(chaos: "Chaos") -> None:
    folder = chaos.folder / "logs"
    if not os.path.ismount(folder):
        raise Skipped("needs root, for a small file system of its own")
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    time.sleep(1)
    filler.unlink()
