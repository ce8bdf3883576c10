"""A server, its callers, and one fault after another."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.chaos.callers import Callers
from bench.chaos.faults import Fault, Skipped
from bench.chaos.ledger import Ledger
from bench.chaos.models import Ads
from corelane.processor.errors import ControlError, RequestError
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import Server, wait_until

_RECOVERY_S = 120.0
_SERVED = {"split": [1, 2, 3], "ads": [1], "latest": [], "linked": [1]}  # of `latest`, the newest


class Chaos:
    """What a fault works with: the server, its folder, and a source of random numbers that is all of its own."""

    def __init__(self, server: Server, folder: Path, ads: Ads, seed: int) -> None:
        self.server = server
        self.folder = folder
        self.ledger = Ledger()
        self.callers = Callers(server, self.ledger, ads)
        self.source = random.Random(seed)
        self._killed: set[psutil.Process] = set()

    def workers(self) -> list[int]:
        return [v["pid"] for model in self.server.status()["models"] for v in model["versions"] if v["pid"]]

    def gateways(self) -> list[int]:
        return [gateway["pid"] for gateway in self.server.status()["gateways"]]

    def children(self) -> list[int]:
        return [process.pid for process in psutil.Process(self.server.process.pid).children()]

    def signal(self, pid: int, number: int) -> None:
        """Of a process of the server; nothing if it has ended."""
        try:
            process = psutil.Process(pid)
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        if number == signal.SIGKILL:
            self._killed.add(process)

    def recover(self) -> None:
        """Returns when every version is available, the server is ready and each protocol has an answer."""
        try:
            wait_until(self._is_well, "recovery", _RECOVERY_S)
        except AssertionError:
            raise AssertionError(f"no recovery in {_RECOVERY_S:g} s: {self._states()}") from None

    def _states(self) -> str:
        """What is not well, in words."""
        try:
            status = self.server.status()
            readiness = ask(self.server.admin, "GET", "/v1/ready")
        except (ControlError, OSError) as error:
            return str(error)
        unnoticed = [f"{process.pid} was killed and is there" for process in self._killed if process.is_running()]
        silent = [f"gateway {gateway['pid']} is not ready" for gateway in status["gateways"] if not gateway["ready"]]
        versions = [
            f"{model['name']}/{version['version']} {version['state']} {version['error'][:100]}"
            for model in status["models"]
            for version in model["versions"]
            if version["state"] != "AVAILABLE"
        ]
        return "; ".join([*unnoticed, *silent, *versions, f"ready: {readiness.status} {readiness.body!r}"])

    def _is_well(self) -> bool:
        if any(process.is_running() for process in self._killed):
            return False  # nobody has noticed yet
        try:
            states = {
                (model["name"], version["version"]): version["state"]
                for model in self.server.status()["models"]
                for version in model["versions"]
            }
            (latest,) = (int(path.name) for path in (self.folder / "latest").iterdir())
            wanted = {(name, version) for name, versions in _SERVED.items() for version in versions}
            if any(states.get(key) != "AVAILABLE" for key in wanted | {("latest", latest)}):
                return False
            gateways = self.server.status()["gateways"]
            if (
                not all(gateway["ready"] for gateway in gateways)
                or ask(self.server.admin, "GET", "/v1/ready").status != 200
            ):
                return False
            with Client(self.server.grpc) as client:
                for name in _SERVED:
                    client.status(name, timeout_s=5)
                client.predict("split", {"x": [1.0]}, timeout_s=5)
            return ask(self.server.http, "GET", "/v1/models/split", timeout_s=5).status == 200
        except (ControlError, RequestError, OSError, ValueError, KeyError):
            return False

    def run(self, seconds: float, faults: list[Fault]) -> None:
        """Every kind in turn, in a new order each time, until the time is over or the server does not recover. The
        first round is whole."""
        self.callers.start(self.source.randrange(2**31))
        end_s, told_s = time.monotonic() + seconds, time.monotonic()
        for number, fault in enumerate(self._deck(faults)):
            if number >= len(faults) and time.monotonic() > end_s:
                break
            if not self._inject(fault):
                break
            self.ledger.look_for_hung()
            if self.server.process.poll() is not None:
                self.ledger.problem(f"the server ended: {self.server.process.returncode}")
                break
            if time.monotonic() - told_s > 10:
                told_s = time.monotonic()
                done, left_s = self.ledger.total("injected"), max(0.0, end_s - told_s)
                print(
                    f"{done} faults, {self.ledger.total('answers')} answers checked, {left_s:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )
        self.callers.stop()
        self.ledger.look_for_hung()

    def _deck(self, faults: list[Fault]) -> Iterator[Fault]:
        while True:
            deck = list(faults)
            self.source.shuffle(deck)
            yield from deck

    def _inject(self, fault: Fault) -> bool:
        """Whether the server is well afterwards."""
        if fault.name in self.ledger.skipped:
            return True
        time.sleep(self.source.uniform(0.1, 0.5))
        self.ledger.begin(fault.name, fault.allowance)
        try:
            fault.inject(self)
        except Skipped as reason:
            self.ledger.skipped[fault.name] = str(reason)
        except (AssertionError, ControlError, RequestError, OSError, subprocess.TimeoutExpired) as error:
            self.ledger.problem(f"{type(error).__name__}: {error}")
        done_s = time.monotonic()
        try:
            self.recover()
        except AssertionError as error:
            self.ledger.problem(str(error))
            return False
        self.ledger.recovered(time.monotonic() - done_s)
        return True
