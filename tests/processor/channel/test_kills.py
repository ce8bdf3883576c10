"""Workers, gateways and clients of a running server are killed at random: every answer is right, nothing is left over.

What happens at each step of the channel is `tests/native/channel_kills.cc`'s to show, thousands of times."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from corelane.processor.errors import DeadlinePassed, Unavailable
from tests.support import onnx_models
from tests.support.load import ScaleLoad
from tests.support.server import Server, serving, wait_until

KILLS = 24
_CLIENT = """
import sys
from tests.support.load import ScaleLoad
with ScaleLoad(sys.argv[1], "scale", threads=2):
    print("calling", flush=True)
    sys.stdin.read()
"""


def _start_client(server: Server) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, server.grpc], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    client.stdout.readline()
    return client


def _kill(client: subprocess.Popen[str]) -> None:
    client.kill()
    client.communicate()


def _victims(server: Server, kind: str) -> list[int]:
    victims = []
    for process in server.processes():
        # One that was killed just now may not have been waited for yet.
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"processor.{kind}" in " ".join(process.cmdline()):
                victims.append(process.pid)
    return victims


def _descriptors(server: Server) -> int:
    return psutil.Process(server.process.pid).num_fds()


def test_random_kills(tmp_path: Path) -> None:
    source = random.Random(3)
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"scale/{version}", version)
    models = "models: [{name: scale, path: scale, versions: {all: true}, queue: {timeout_ms: 5000}}]"
    with serving(tmp_path, models, environment={"CORELANE_RESTART_BACKOFF_MAX_S": "1"}) as server:
        _await_both(server)
        before = _descriptors(server)
        clients = [_start_client(server)]
        with ScaleLoad(server.grpc, "scale", timeout_s=10) as load:
            for _ in range(KILLS):
                time.sleep(source.uniform(0, 0.5))
                kind = source.choice(["worker", "gateway", "client"])
                if kind == "client":
                    _kill(clients.pop())
                    clients.append(_start_client(server))
                elif victims := _victims(server, kind):
                    psutil.Process(source.choice(victims)).send_signal(signal.SIGKILL)
            _await_both(server)
            answered = sum(load.answers.values())
            wait_until(lambda: sum(load.answers.values()) > answered + 50, "answers after the last kill")
        for client in clients:
            _kill(client)
        assert load.wrong == []
        assert {type(error) for error in load.failures} <= {Unavailable, DeadlinePassed}
        for version in (1, 2):
            wait_until(lambda v=version: _is_idle(server, v), "all slots back")
        wait_until(lambda: _descriptors(server) <= before, "no descriptor left")


def _await_both(server: Server) -> None:
    for version in (1, 2):
        server.wait_state("scale", version, "AVAILABLE")


def _is_idle(server: Server, version: int) -> bool:
    requests = server.version("scale", version).get("requests")  # not there while it restarts
    return bool(requests and requests["queued"] == requests["running"] == 0)
