"""What those who run the server rely on: systemd, probes, logs with request ids, manifests for containers."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml

from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.records.call_records import id_of
from corelane.processor.knobs import Knobs
from corelane.processor.manifest import parse_manifest
from corelane.processor.supervisor.events import Events
from corelane.processor.supervisor.splits import Splits
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.systemd import Notifier
from corelane.scheduler import read_host
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import LISTEN, WITH_REST, serving, wait_until

CONFIGS = Path(__file__).parents[2] / "configs"
MODELS = "models: [{name: scale, path: scale}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    return tmp_path


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The end of the socket that systemd reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(60)
        yield found


def heard(systemd: socket.socket, until: str) -> list[str]:
    lines: list[str] = []
    while not any(line.startswith(until) for line in lines):
        lines += systemd.recv(4096).decode().split("\n")
    return lines


def test_systemd_hears_of_a_life(folder: Path, systemd: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
    with serving(folder, MODELS, environment=environment) as server:
        lines = heard(systemd, "READY=1")
        assert "STATUS=1 models, 1 versions available" in [*lines, *heard(systemd, "WATCHDOG=1")]
        started_s = time.monotonic()
        heard(systemd, "WATCHDOG=1")
        assert time.monotonic() - started_s < 60
        server.apply(LISTEN + MODELS)
        lines = heard(systemd, "RELOADING=1")
        assert any(line.startswith("MONOTONIC_USEC=") for line in lines)
        heard(systemd, "READY=1")
        assert server.stop() == 0
        heard(systemd, "STOPPING=1")


def test_the_watchdog_is_fed_at_half_its_time(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000000"}
    notifier = Notifier(environment)
    for _ in range(3):
        notifier.alive()
    assert systemd.recv(100) == b"WATCHDOG=1"
    systemd.settimeout(0.05)
    with pytest.raises(TimeoutError):
        systemd.recv(100)
    Notifier({**environment, "WATCHDOG_PID": "1"}).alive()
    Notifier({}).alive()
    with pytest.raises(TimeoutError):
        systemd.recv(100)
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nothing")})
    gone.ready("not heard, and no harm")


def test_a_tick_that_fails_over_and_over_is_no_life(
    folder: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000")  # a beat is due at every tick
    systemd.setblocking(False)

    def beats() -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while systemd.recv(4096):
                count += 1
        return count

    async def run() -> None:
        manifest = parse_manifest(LISTEN + MODELS, source="test", base=folder)
        supervisor = Supervisor(manifest, None, read_host(), Knobs(heartbeat_s=1), Events(), Splits(None))
        ticks: list[bool] = []

        def fail() -> None:
            ticks.append(supervisor.alive)
            if len(ticks) < 8:
                raise OSError("no more processes")

        monkeypatch.setattr(supervisor, "_reconcile_now", fail)
        ticking = asyncio.ensure_future(supervisor._tick())
        while len(ticks) < 8:
            assert beats() == 0
            await asyncio.sleep(0.01)
        assert ticks == [True] * 4 + [False] * 4
        while not beats():
            await asyncio.sleep(0.01)
        assert supervisor.alive
        ticking.cancel()
        supervisor.close()

    asyncio.run(run())


def test_live_ready_and_ready_by_model(folder: Path) -> None:
    models = "host: {ready: any}\nmodels: [{name: scale, path: scale}, {name: late, path: late}]"
    with serving(folder, models, listen=WITH_REST, ready=False) as server:
        server.wait_state("scale", 1, "AVAILABLE")
        server.wait_ready()
        wait_until(lambda: server.status()["ready"], "ready")

        def status(path: str, port: str = "admin") -> int:
            return ask(getattr(server, port), "GET", path).status

        assert status("/v1/live") == status("/v1/ready") == status("/v1/ready/scale") == 200
        assert status("/v1/ready/late") == status("/v1/ready/nothing") == 503
        assert status("/v2/health/live", "http") == status("/v2/models/scale/ready", "http") == 200
        assert status("/v2/models/late/ready", "http") == 400
        # A version that takes long to load: nobody takes the host out for it.
        onnx_models.write_heavy(folder / "late/1", 200)
        wait_until(lambda: server.version("late", 1).get("state") in ("WAITING", "QUEUED", "LOADING"), "the load")
        assert status("/v2/health/ready", "http") == status("/v1/ready") == 200
        server.wait_state("late", 1, "AVAILABLE")
        assert status("/v1/ready/late") == 200


def test_json_logs_and_request_ids(folder: Path) -> None:
    listen = WITH_REST.replace("}", ", access_log: all}")
    environment = {"CORELANE_LOG_FORMAT": "json"}
    manifest = folder / "manifest.yaml"
    manifest.write_text(listen + MODELS)
    log = folder / "log"
    command = [sys.executable, "-P", "-m", "corelane", "serve", str(manifest)]
    settings = {"CORELANE_SETTLE_S": "0.3", "CORELANE_CACHE": str(folder / "cache")}
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output, env={**os.environ, **environment, **settings})

    def records() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]

    try:
        started = wait_until(
            lambda: next((one for one in records() if one["message"].startswith("gRPC on")), None), "the start"
        )
        words = started["message"].replace(",", "").split()
        by_grpc, by_rest = words[2], words[5]
        wait_until(lambda: any(one["message"].startswith("ready:") for one in records()), "ready")
        with Client(by_grpc) as client:
            client.predict("scale", {"x": [1.0]})
            with pytest.raises(InvalidRequest):
                client.predict("scale", {"z": [1.0]}, version=1)
        with grpc.insecure_channel(by_grpc) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            with pytest.raises(grpc.RpcError):
                call(b"", metadata=[("x-request-id", "from-a-client")])
        body = {"instances": [1]}
        found = ask(by_rest, "POST", "/v1/models/scale:predict", body, {"X-Request-Id": "rest-7"})
        assert found.headers["x-request-id"] == "rest-7"
        found = ask(by_rest, "POST", "/v1/models/scale:predict", body, {"X-Request-Id": "two words"})
        assert len(found.headers["x-request-id"]) == 32

        def calls() -> list[dict[str, Any]]:
            return [one for one in records() if one["logger"] == "access" and "request_id" in one]

        wait_until(lambda: len(calls()) == 5, "a line for each call")
        by_id = {one["request_id"]: one for one in calls()}
        assert by_id["from-a-client"]["code"] == "INVALID_ARGUMENT"
        rest = by_id["rest-7"]
        assert (rest["entry"], rest["method"], rest["model"], rest["code"]) == ("rest", "predict", "scale", "OK")
        assert rest["ms"] > 0
        assert rest["process"].startswith("gateway:")
        failed = next(one for one in calls() if one["asked"] == 1)
        assert "Missing but required" in failed["error"] or "not found in request" in failed["error"]
        assert all(one["time"].endswith("Z") and one["level"] == "info" for one in calls())
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_ids_that_could_break_a_log_are_replaced() -> None:
    assert id_of("abc-1.2:3") == "abc-1.2:3"
    for wrong in (None, "", "a\nb", "a b", "x" * 129, "ü"):
        assert len(id_of(wrong)) == 32


def test_an_unknown_format_is_told_of(folder: Path) -> None:
    command = [sys.executable, "-m", "corelane", "status"]
    environment = {**os.environ, "CORELANE_LOG_FORMAT": "xml"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, "should be text or json, not 'xml'" in result.stderr) == (2, True)


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CONFIGS / "kubernetes/corelane.yaml").read_text()))


@pytest.mark.parametrize("document", documents(), ids=lambda one: one["kind"])
def test_kubernetes_takes_the_manifests(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_the_pod_is_guaranteed_and_drains(tmp_path: Path) -> None:
    found = {one["kind"]: one for one in documents()}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    resources = container["resources"]
    assert resources["requests"] == resources["limits"], "Guaranteed"
    assert resources["limits"]["cpu"].isdecimal(), "whole cores, for the static CPU manager"
    manifest = parse_manifest(found["ConfigMap"]["data"]["manifest.yaml"], source="m", base=tmp_path)
    sleep_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > manifest.host.drain_s + sleep_s
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    assert manifest.listen.grpc.endswith(":8500") and str(manifest.listen.http).endswith(":8501")
    assert manifest.listen.admin.startswith("127.0.0.1:"), "the admin port stays in the pod"


def test_the_unit_waits_longer_than_the_drain(tmp_path: Path) -> None:
    unit = (CONFIGS / "corelane.service").read_text()
    wait_s = int(next(line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")).partition("=")[2])
    assert wait_s > parse_manifest("models: []", source="m", base=tmp_path).host.drain_s
    if shutil.which("systemd-analyze"):
        (tmp_path / "corelane.service").write_text(unit.replace("/opt/corelane/bin/corelane", "/bin/true"))
        result = subprocess.run(
            ["systemd-analyze", "verify", str(tmp_path / "corelane.service")], capture_output=True, text=True
        )
        assert "Unknown" not in result.stderr


def test_the_image_installs_what_the_project_is() -> None:
    lines = (CONFIGS / "Containerfile").read_text().splitlines()
    instructions = {line.split()[0] for line in lines if line and line[0].isupper()}
    assert instructions <= {
        "FROM", "RUN", "COPY", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    text = "\n".join(lines)
    extras = text.split("/source[")[1].split("]")[0].split(",")
    setup = (CONFIGS.parent / "setup.py").read_text()
    assert all(f'"{extra}":' in setup for extra in extras)
    assert 'CMD ["tensorflow_model_server"]' in text
