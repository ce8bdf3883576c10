"""Processes that stop, hang, say too much or cannot be started: the supervisor notices, and serves on."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import psutil
import pytest

from corelane.commands.status import render
from corelane.processor.channel.gateway_end import NotConnected, WorkerChannel
from corelane.processor.control.routes import ModelRoute, VersionRoute
from corelane.processor.errors import Unavailable
from corelane.processor.gateway.router import Router
from corelane.processor.manifest import ListenSettings
from corelane.processor.supervisor.children import gateways
from corelane.processor.supervisor.events import Events
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.load import ScaleLoad
from tests.support.server import WITH_REST, Server, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("starts")
    for name in ("a", "b"):
        onnx_models.write_scale(folder / name / "1", 1)
    models = "models: [{name: a, path: a}, {name: b, path: b, queue: {timeout_ms: 5000}}]"
    knobs = {"CORELANE_RESTART_BACKOFF_MAX_S": "1"}
    with serving(folder, models, listen=WITH_REST, environment=knobs) as server:
        yield server


def _gateways(server: Server, protocol: str) -> list[int]:
    return [gateway["pid"] for gateway in server.status()["gateways"] if gateway["protocol"] == protocol]


@contextlib.contextmanager
def _limited(pid: int, resource_id: int, limit: int) -> Iterator[None]:
    process = psutil.Process(pid)
    before = process.rlimit(resource_id)
    process.rlimit(resource_id, (limit, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource_id, before)


def _without_descriptors(pid: int) -> contextlib.AbstractContextManager[None]:
    """The process can open nothing."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = min(number for number in range(max(used) + 2) if number not in used)
    return _limited(pid, psutil.RLIMIT_NOFILE, free)


@pytest.mark.parametrize(
    ("name", "path", "label", "message"),
    [
        ("a\0b", "x", "", "cannot be printed"),
        ("a\nb", "x", "", "cannot be printed"),
        ("n" * 257, "x", "", "it has 257 bytes; at most 256 can be"),
        ("n" * 200_000, "x", "", "at most 256 can be"),
        ("n" * 13_000_000, "x", "", "as a message to the supervisor"),
        ("n", "/x\0y", "", "zero byte"),
        ("n", "/x" * 5000, "", "is too long"),
        ("n", "/" + "x" * 300, "", "is too long"),
        ("n", "x", "l" * 300, "at most 256 can be"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_names_and_paths_are_checked_where_clients_bring_them(
    server: Server, name: str, path: str, label: str, message: str
) -> None:
    request = messages.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name=name, base_path=path)
    if label:
        config.version_labels[label] = 1
    with grpc.insecure_channel(server.grpc) as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        with pytest.raises(grpc.RpcError) as raised:
            reload(request.SerializeToString(), timeout=30)
    error: Any = raised.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in error.details()
    assert len(error.details()) < 2000
    with server.client() as client:
        assert client.predict("b", {"x": [3.0]})["y"] == [3.0]


def test_a_worker_that_cannot_be_started_is_its_versions_trouble(server: Server) -> None:
    before = psutil.Process(server.process.pid).num_fds()
    with ScaleLoad(server.grpc, "b") as spared:
        worker = server.version("a", 1)["pid"]
        with _without_descriptors(server.process.pid):
            os.kill(worker, signal.SIGKILL)
            said = re.compile(r"\[a/1\] the worker cannot be started: .*Too many open files")
            wait_until(lambda: said.search(server.log.read_text()), "the trouble")
        server.wait_state("a", 1, "AVAILABLE")
    assert spared.failures == []
    wait_until(lambda: psutil.Process(server.process.pid).num_fds() <= before, "no descriptor left")


def test_a_gateway_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Odd:
        """A process that the system refuses twice."""

        def __init__(self, module: str, name: str, *arguments: Any, **how: Any) -> None:
            started.append(name)
            if len(started) < 3:
                raise OSError(24, "Too many open files")

        def send(self, message: Any) -> None:
            pass

    monkeypatch.setattr(gateways, "Child", Odd)

    async def run() -> None:
        kept = gateways.Gateways(
            kinds=gateways.kinds_of(ListenSettings(), {"grpc": "a"}, 60.0, None, 1),
            events=Events(),
            on_change=lambda: None,
            on_ask=lambda *_: None,
            on_counts=lambda _: None,
            on_end=lambda _: None,
        )
        kept.start()
        while not kept.list:
            assert kept.last_end == "cannot be started: [Errno 24] Too many open files"
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert started == ["gateway:a"] * 3


def test_status_says_that_gateways_are_missing(server: Server) -> None:
    found = server.status()
    assert found["gateway_error"] == ""
    found["gateways"] = [{**found["gateways"][0], "ready": True}]
    found["gateways_expected"], found["gateway_error"] = 2, "was killed by SIGKILL"
    said = "a gateway was killed by SIGKILL; 1 of 2 are up, the rest is started again"
    assert said in render(found).split("\n")


class _Channel(WorkerChannel):
    def call(self, call: Any, assignment: Any) -> bytes:
        return b"answer"

    def count_refused(self, call: Any, assignment: Any) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_worker_that_a_gateway_cannot_reach_gets_no_calls_and_is_tried_again() -> None:
    refused = {2: "no descriptor"}

    def connect(model: str, route: VersionRoute) -> WorkerChannel:
        if route.instance in refused:
            raise NotConnected(refused[route.instance])
        return _Channel()

    router = Router(connect)
    versions = tuple(VersionRoute(version=n, state="AVAILABLE", instance=n, slots=1) for n in (1, 2))
    table = {"m": ModelRoute(name="m", versions=versions)}
    assert router.replace(table) == refused
    assert router.choose("m", None, None, None)[0].version == 1
    with pytest.raises(Unavailable):
        router.choose("m", 2, None, None)
    refused.clear()
    assert router.replace(table) == {}
    assert router.choose("m", None, None, None)[0].version == 2


def test_a_version_that_served_restarts_with_its_priority(server: Server) -> None:
    """The threads of a restart are as those of a worker that serves; a first load's are not."""
    own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
    before = server.version("b", 1)["pid"]
    os.kill(before, signal.SIGKILL)
    assert _weakest_while_loading(server, "b", 1, before) == (own, os.SCHED_OTHER)
    onnx_models.write_scale(server.manifest.parent / "b/2", 2)
    nice, policy = _weakest_while_loading(server, "b", 2)
    assert nice > own or policy == os.SCHED_IDLE or own >= 10  # of tests that run so themselves


def _weakest_while_loading(server: Server, model: str, version: int, before: int = 0) -> tuple[int, int]:
    """The largest nice value and scheduling policy of any thread of a worker, from its start to its being available.
    `before` is the worker before it."""
    nice, policy = -20, os.SCHED_OTHER
    seen: set[int] = set()
    while server.version(model, version).get("state") != "AVAILABLE" or not seen:
        for process in server.processes()[1:]:
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid == before or f"{model}/{version}" not in process.cmdline():
                    continue
                for thread in process.threads():
                    seen.add(thread.id)
                    nice = max(nice, os.getpriority(os.PRIO_PROCESS, thread.id))
                    policy = max(policy, os.sched_getscheduler(thread.id))
    return nice, policy


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_channels_take_few_addresses() -> None:
    """As many as a gateway would hold of a server started by flags: each could carry 256 messages of 2 GiB."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("too few descriptors")
    result = _run(
        "import os, resource\n"
        "from corelane.processor import _native\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({max(before, 1200)}, {hard}))\n"
        "made = [_native.SharedChannel.create(instance=n + 1, slots=258, message_bytes_max=2**31 - 1,\n"
        "        queue_timeout_ns=1) for n in range(500)]\n"
        "size = lambda: int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "before = size()\n"
        "mapped = [_native.SharedChannel.map(os.dup(one.descriptor), n + 1, False) for n, one in enumerate(made)]\n"
        "print((size() - before) // len(mapped))"
    )
    assert int(result.stdout) < 1 << 20, result.stderr


def test_nobody_can_cut_a_channel_short() -> None:
    from corelane.processor import _native

    channel = _native.SharedChannel.create(instance=1, slots=4, message_bytes_max=1 << 20, queue_timeout_ns=1)
    with pytest.raises(PermissionError):
        os.ftruncate(channel.descriptor, 0)


def test_no_gateway_knows_nothing() -> None:
    """Or versions would be AVAILABLE, and those before them drained, while nobody can call."""
    kept = gateways.Gateways(
        kinds=gateways.kinds_of(ListenSettings(), {"grpc": "a", "http": "b"}, 60.0, None, 1),
        events=Events(),
        on_change=lambda: None,
        on_ask=lambda *_: None,
        on_counts=lambda _: None,
        on_end=lambda _: None,
    )
    assert kept.all_have(0), "before they are started, loads need not wait for them"
    kept._started = True
    assert not kept.all_have(0) and not kept.reachable
    grpc_one, http_one = (SimpleNamespace(acknowledged=3, ready=True, kind=kind) for kind in kept.kinds)
    kept.list.append(grpc_one)
    assert kept.all_have(3) and not kept.all_have(4) and not kept.reachable
    kept.list.append(http_one)
    assert kept.reachable
