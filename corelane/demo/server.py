"""The demo's server: a process of its own, on ports that nobody has, from a copy of the manifest."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from corelane import configs
from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError, CorelaneError
from corelane.processor.manifest import Manifest, load_manifest

PORT = 8500
_DOORS = ("grpc", "http", "admin")
_START_S = 400
_STOP_S = 60
_TOLD_S = 5.0  # without a word of what loads


class DemoFailed(CorelaneError):
    """The demo did not do what it shows."""


def manifest_of(folder: Path, port: int | None) -> dict[str, Any]:
    """What the demo serves: `configs/demo.yaml` of a folder, which is put there if it lacks one, on `port` and the two
    after it; 0: on any free ports. Without a port on 8500 and so on if those are free, else on any that are. DemoFailed
    if the ports that were asked for are taken."""
    path = folder / "configs/demo.yaml"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(configs.path("demo.yaml"), path)
    except OSError as error:
        raise DemoFailed(
            f"{error.filename or path} cannot be made: {error.strerror}; choose another --folder"
        ) from error
    load_manifest(path)
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    document["listen"] = (document.get("listen") or {}) | dict(zip(_DOORS, _addresses(port), strict=True))
    return document


def _addresses(port: int | None) -> list[str]:
    first = PORT if port is None else port
    if first:
        ports = [first, first + 1, first + 2]
        taken = [number for number in ports if not _is_free(number)]
        if not taken:
            return [f"127.0.0.1:{number}" for number in ports]
        if port is not None:
            raise DemoFailed(f"port {taken[0]} is taken: choose another --port, or 0 for any that are free")
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _DOORS]
        return [f"127.0.0.1:{door.getsockname()[1]}" for door in sockets]


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except (OSError, OverflowError):
        return False


class DemoServer:
    """`corelane serve` of a manifest, which is written beside the models: commands may change it."""

    def __init__(self, document: dict[str, Any], models: Path, name: str) -> None:
        self.path = models / f"{name}.yaml"
        self.log = models / f"{name}.log"
        self.path.write_text(
            "# What the demo serves; made anew each time.\n" + yaml.safe_dump(document, sort_keys=False)
        )
        self.manifest: Manifest = load_manifest(self.path)
        command = [sys.executable, "-P", "-m", "corelane", "serve", str(self.path)]
        with self.log.open("w") as output:
            # A Ctrl-C in the terminal is for the demo, which then ends its server in its own way.
            self._process = subprocess.Popen(command, stderr=output, start_new_session=True)

    @property
    def grpc(self) -> str:
        return self.manifest.listen.grpc

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The admin port's answer. ControlError if it refuses, or is not there."""
        return call_admin(self.manifest.listen.admin, path, body)

    def versions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each version with the name of its model, as `corelane status --json` has them."""
        for model in self.ask("/v1/status")["models"]:
            for version in model["versions"]:
                yield model["name"], version

    def version(self, model: str, number: int) -> dict[str, Any]:
        """{} if the server does not know it."""
        return next((v for name, v in self.versions() if (name, v["version"]) == (model, number)), {})

    def wait_for(self, condition: Callable[[], Any], text: str, timeout_s: float = _START_S) -> Any:
        """The first true value. DemoFailed if there is none in time, or the server ends."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if self._process.poll() is not None:
                last = self.log.read_text().strip().splitlines()[-1:] or [f"exit code {self._process.returncode}"]
                raise DemoFailed(f"the server ended: {last[0]}")
            with contextlib.suppress(ControlError):
                if value := condition():
                    return value
            time.sleep(0.05)
        raise DemoFailed(f"{text}: not so after {timeout_s:g} s; see {self.log}")

    def wait_until_ready(self, say: Callable[[str], None]) -> None:
        """Returns when all versions are there; says each, as it comes. DemoFailed if one fails."""
        started_s = told_s = time.monotonic()
        said: set[tuple[str, int]] = set()

        def tell(text: str) -> None:
            nonlocal told_s
            told_s = time.monotonic()
            say(f"{told_s - started_s:5.1f} s  {text}")

        def ready() -> bool:
            waits: list[str] = []
            for model, version in self.versions():
                key, state = (model, version["version"]), version["state"]
                if state == "FAILED":
                    raise DemoFailed(f"{model}/{version['version']} failed to load: {version['error']}")
                if state != "AVAILABLE":
                    load = version["load"]
                    waits.append(f"{model}/{version['version']} {load['phase'] if load else state}")
                elif key not in said:
                    said.add(key)
                    tell(f"{model}/{version['version']} on {version['engine']}")
            if waits and time.monotonic() - told_s > _TOLD_S:
                tell(f"... {', '.join(waits)}")
            return bool(said) and not waits and bool(self.ask("/v1/status")["settled"])

        self.wait_for(ready, "every version is available")

    def wait(self) -> None:
        self._process.wait()

    def stop(self) -> int:
        """The exit code, after a drain."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
