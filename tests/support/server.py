"""A real server for a test: `corelane serve` in a process of its own, on ports of its own."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError
from tests.support.client import PlainClient as Client

_WAIT_S = 200
FAST = {
    "CORELANE_WATCH_INTERVAL_S": "0.1",
    "CORELANE_SETTLE_S": "0.3",
}
# A model whose calls are split.
SPLIT = """\
models:
- name: m
  path: m
  versions:
  - {version: 1, label: stable, traffic: 95}
  - {version: 2, label: canary, traffic: 5}
"""
LISTEN = 'listen: {grpc: "127.0.0.1:0", http: none, admin: "127.0.0.1:0"}\n'
WITH_ACTIONS = LISTEN.replace("}", ", page_actions: true}")
WITH_KEYED_ACTIONS = LISTEN.replace("}", ", page_actions: true, auth: {api_keys: keys, managers: [ops]}}")
WITH_REST = LISTEN.replace("none", '"127.0.0.1:0"')


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = _WAIT_S) -> Any:
    """The first true value of `condition`; fails the test, naming what it waited for, if there is none in time."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s in vain: {what}")


class Server:
    """Addresses are known, and the gateways listen, when the constructor returns."""

    def __init__(
        self,
        manifest: Path,
        log: Path,
        environment: dict[str, str] | None = None,
        *,
        descriptors_max: int | None = None,
    ) -> None:
        self.manifest = manifest
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "corelane", "serve", str(manifest)],
                stderr=output,
                env={**os.environ, **FAST, **_own(log.parent), **(environment or {})},
                preexec_fn=None if descriptors_max is None else lambda: _limit_descriptors(descriptors_max),
            )
        found = wait_until(self._addresses, "the server's addresses")
        self.grpc, self.http, self.admin = found

    @classmethod
    def by_flags(cls, folder: Path, *flags: str, environment: dict[str, str] | None = None) -> "Server":
        """`corelane tensorflow_model_server`, on free ports, which may not be open yet; its log is in `folder`."""
        server = cls.__new__(cls)
        server.log = folder / "server.log"
        command = [sys.executable, "-P", "-m", "corelane", "tensorflow_model_server", "--port=0"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            command.append(f"--rest_api_port={probe.getsockname()[1]}")
        own = {"CORELANE_ADMIN": "127.0.0.1:0", **_own(folder)}
        with server.log.open("w") as output:
            server.process = subprocess.Popen(
                [*command, *flags], stderr=output, env={**os.environ, **FAST, **own, **(environment or {})}
            )
        found = wait_until(server._addresses, "the server's addresses")
        server.grpc, server.http, server.admin = (address.replace("0.0.0.0", "127.0.0.1") for address in found)
        return server

    def _addresses(self) -> tuple[str, str, str] | None:
        text = self.log.read_text()
        assert self.process.poll() is None, f"the server ended:\n{text}"
        found = re.search(r"gRPC on (\S+), REST on (.+?), admin on (\S+),", text)
        return (found[1], found[2], found[3]) if found else None

    def status(self) -> dict[str, Any]:
        return call_admin(self.admin, "/v1/status")

    def version(self, model: str, version: int) -> dict[str, Any]:
        """What `status` says of a version; {} if it does not know it."""
        for entry in self.status()["models"]:
            for found in entry["versions"]:
                if (entry["name"], found["version"]) == (model, version):
                    return found
        return {}

    def wait_ready(self) -> "Server":
        """Returns when nothing more comes by itself, be it that a model failed."""

        def ready() -> bool:
            with contextlib.suppress(ControlError):
                return bool(self.status()["settled"])
            return False

        wait_until(ready, f"ready; log:\n{self.log.read_text()}")
        return self

    def wait_state(self, model: str, version: int, state: str, timeout_s: float = _WAIT_S) -> dict[str, Any]:
        return wait_until(
            lambda: found if (found := self.version(model, version)).get("state") == state else None,
            f"{model}/{version} {state}; now {self.version(model, version)}; log:\n{self.log.read_text()}",
            timeout_s,
        )

    def apply(self, text: str) -> dict[str, Any]:
        body = {"manifest": text, "base": str(self.manifest.parent), "source": "test.yaml", "yes": True}
        return call_admin(self.admin, "/v1/apply", body)

    def client(self) -> Client:
        return Client(self.grpc)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything it started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> int:
        """Asks for a drain; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def _own(folder: Path) -> dict[str, str]:
    """What no two servers share."""
    return {"CORELANE_CACHE": str(folder / "cache"), "CORELANE_STATE": str(folder / "state")}


def _limit_descriptors(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@contextlib.contextmanager
def serving_flags(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A server by TensorFlow Serving's flags; must exit 0 at the end, unless the test has ended it."""
    with _ending(Server.by_flags(folder, *flags, environment=environment)) as server:
        yield server


@contextlib.contextmanager
def serving(
    folder: Path,
    models: str,
    *,
    ready: bool = True,
    environment: dict[str, str] | None = None,
    listen: str = LISTEN,
    descriptors_max: int | None = None,
) -> Iterator[Server]:
    """A server of the manifest `listen` + `models`, with paths relative to `folder`; must exit 0 at the end, unless the
    test has ended it."""
    manifest = folder / "manifest.yaml"
    manifest.write_text(listen + models)
    with _ending(Server(manifest, folder / "server.log", environment, descriptors_max=descriptors_max)) as server:
        yield server.wait_ready() if ready else server


@contextlib.contextmanager
def _ending(server: Server) -> Iterator[Server]:
    """The server, which must exit 0 at the end, unless the test has ended it; none is left over."""
    try:
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0, server.log.read_text()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
