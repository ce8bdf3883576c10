"""The supervisor watches its processes, on a real server: what is deaf is replaced, and what makes processes deaf does
not any more."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient import grpc as triton

from corelane.commands.common import call_admin
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.load import ScaleLoad
from tests.support.server import WITH_REST, Server, serving, wait_until

HEARTBEAT_S = 2
MESSAGE_BYTES = 64 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_scale(folder / "a/1", 1)
    onnx_models.write_scale(folder / "b/1", 1)
    onnx_models.write_slow(folder / "slow/1")
    models = (
        "host: {gateways: 1}\nmodels: [{name: a, path: a, queue: {timeout_ms: 5000}}, {name: b, path: b}, "
        "{name: slow, path: slow, queue: {timeout_ms: 60000}}, "
        f"{{name: printer, path: {tensorflow_models / 'printer'}, queue: {{timeout_ms: 60000}}}}]"
    )
    environment = {"CORELANE_HEARTBEAT_S": str(HEARTBEAT_S), "CORELANE_RESTART_BACKOFF_MAX_S": "1"}
    with serving(folder, models, environment=environment, listen=WITH_REST) as running:
        yield running


def gateways(server: Server, protocol: str) -> list[int]:
    return [gateway["pid"] for gateway in server.status()["gateways"] if gateway["protocol"] == protocol]


def pids(server: Server) -> set[int]:
    """Of all gateways and workers."""
    return {process.pid for process in psutil.Process(server.process.pid).children()}


def check_serving(server: Server) -> None:
    with server.client() as client:
        assert client.predict("a", {"x": [1.0]}, timeout_s=60)["y"] == 1
    answer = ask(server.http, "POST", "/v1/models/a:predict", {"inputs": [1.0]})
    assert answer.status == 200, answer.body


def test_a_stopped_worker_is_replaced(server: Server) -> None:
    pid = server.version("a", 1)["pid"]
    with ScaleLoad(server.grpc, "b") as other:
        os.kill(pid, signal.SIGSTOP)
        found = wait_until(
            lambda: v if (v := server.version("a", 1)).get("pid") not in (pid, None) else None, "a new worker"
        )
    assert other.failures == []
    reason = f"was stopped and did not answer for {HEARTBEAT_S} s"
    assert f"the worker {reason}; it was killed" in found["error"]
    assert f"[a/1] {reason}; it is killed" in server.log.read_text()
    check_serving(server)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_stopped_gateway_is_replaced(server: Server, protocol: str) -> None:
    [pid] = gateways(server, protocol)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: pid not in gateways(server, protocol) and server.status()["settled"], "another gateway")
    said = f"a gateway was stopped and did not answer for {HEARTBEAT_S} s; it was killed"
    assert any(said in event["text"] for event in call_admin(server.admin, "/v1/events")["events"])
    check_serving(server)


def test_a_supervisor_that_stood_still_kills_nobody(server: Server) -> None:
    before = pids(server)
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(2 * HEARTBEAT_S)
    server.process.send_signal(signal.SIGCONT)
    awake_s = server.status()["uptime_s"]
    wait_until(lambda: server.status()["uptime_s"] > awake_s + 1.5 * HEARTBEAT_S, "more beats")
    assert pids(server) == before


def test_a_long_prediction_is_no_death(server: Server) -> None:
    pid, started_s = server.version("slow", 1)["pid"], time.monotonic()
    total, n = 0, 1_000_000
    with server.client() as client:
        while time.monotonic() - started_s < 2 * HEARTBEAT_S:
            n *= 2
            total = int(client.predict("slow", {"n": n}, timeout_s=200)["total"])
    assert total == n
    assert server.version("slow", 1)["pid"] == pid


def test_a_model_that_prints_without_newlines_serves_on(server: Server) -> None:
    word, before = "x" * (9 << 20), server.log.stat().st_size
    with server.client() as client:
        for _ in range(6):
            assert client.predict("printer", {"word": word}, timeout_s=60)["length"] == len(word)
    # The log takes so many lines of one kind a minute; the rest is read and counted.
    wait_until(lambda: "x" * 1000 in server.log.read_text()[before:], "some of it in the log")


def test_what_is_too_long_for_the_supervisor_is_refused(server: Server) -> None:
    before = gateways(server, "grpc")
    with grpc.insecure_channel(server.grpc) as channel:
        for method, request in (
            # Written as JSON, each character takes six bytes; and as base64, three bytes take four.
            (
                "inference.GRPCInferenceService/RepositoryModelUnload",
                messages.RepositoryModelUnloadRequest(model_name="\x01" * (10 << 20)),
            ),
            ("tensorflow.serving.ModelService/HandleReloadConfigRequest", _large_config(14 << 20)),
        ):
            call = channel.unary_unary(f"/{method}", request_serializer=lambda message: message.SerializeToString())
            with pytest.raises(grpc.RpcError, match="bytes as a message to the supervisor") as error:
                call(request, timeout=60)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    change_state(server)
    assert gateways(server, "grpc") == before


def _large_config(size: int) -> Any:
    request = messages.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="a" * size)
    return request


def change_state(server: Server) -> None:
    """A gateway asks the supervisor for something, and a table comes back."""
    with triton.InferenceServerClient(server.grpc) as client:
        client.unload_model("b")
        assert not client.is_model_ready("b")
        client.load_model("b")
        assert client.is_model_ready("b")


def test_watches_leave_room_for_calls(server: Server) -> None:
    serving_now, not_serving = (
        health_pb2.HealthCheckResponse.ServingStatus.Value(n) for n in ("SERVING", "NOT_SERVING")
    )
    before = gateways(server, "grpc")
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service="b")) for _ in range(600)]
        with ThreadPoolExecutor(64) as threads:
            first = list(threads.map(_next, watches))
        assert first.count(serving_now) == 256
        assert first.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 600 - 256
        with ScaleLoad(server.grpc, "a") as load:
            wait_until(lambda: sum(load.answers.values()) > 100, "answers beside the watches")
            open_ones = [watch for watch, told in zip(watches, first, strict=True) if told == serving_now]
            for watch in open_ones[::2]:
                watch.cancel()  # some leave while the rest are told
            change_state(server)
            assert {_next(watch) for watch in open_ones[1::2]} <= {
                not_serving,
                health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
            }
            assert {_next(watch) for watch in open_ones[1::2]} <= {serving_now, not_serving}
        assert load.failures == []
        for watch in open_ones:
            watch.cancel()
        assert _next(stub.Watch(health_pb2.HealthCheckRequest(service="nonesuch"))) == 3
        again = wait_until(lambda: _next(stub.Watch(health_pb2.HealthCheckRequest())) == serving_now, "room again")
        assert again
    assert gateways(server, "grpc") == before


def test_watchers_that_come_and_go_while_states_change_lock_nobody_up(server: Server) -> None:
    before, done = gateways(server, "grpc"), threading.Event()

    def come_and_go() -> None:
        with grpc.insecure_channel(server.grpc) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not done.is_set():
                watch = stub.Watch(health_pb2.HealthCheckRequest(service="b"))
                next(watch)
                watch.cancel()

    watchers = [threading.Thread(target=come_and_go) for _ in range(8)]
    for watcher in watchers:
        watcher.start()
    for _ in range(3):
        change_state(server)
    done.set()
    for watcher in watchers:
        watcher.join()
    check_serving(server)
    assert gateways(server, "grpc") == before


def test_reflections_leave_room_for_calls(server: Server) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    def ever() -> Iterator[Any]:
        yield request
        wait_until(lambda: done, "the end")

    done: list[bool] = []
    with grpc.insecure_channel(server.grpc) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        calls = [stub.ServerReflectionInfo(ever()) for _ in range(40)]
        found = [_next(call) for call in calls]
        assert found.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 40 - 32
        check_serving(server)
        done.append(True)


def _next(call: Any) -> Any:
    """What it says next: a status of health, another message, or the code that it ended with."""
    try:
        answer = next(call)
    except grpc.RpcError as error:
        return error.code()
    return answer.status if isinstance(answer, health_pb2.HealthCheckResponse) else "answer"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_gateway_that_gets_no_more_threads_answers_with_those_it_has(server: Server, protocol: str) -> None:
    [pid] = gateways(server, protocol)
    check_serving(server)
    before = len(server.log.read_text())
    # As root, no limit of processes holds; one of address space refuses a thread its stack as well.
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (psutil.Process(pid).memory_info().vms + (20 << 20), hard))
    n = 20_000

    def call(number: int) -> int:
        if protocol == "grpc":
            with server.client() as client:
                return int(client.predict("slow", {"n": n}, timeout_s=60)["total"])
        return int(ask(server.http, "POST", "/v1/models/slow:predict", {"inputs": {"n": n}}).json["outputs"])

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(call, range(24))) == [n] * 24
    assert "can't start new thread: calls wait for" in server.log.read_text()[before:]
    assert gateways(server, protocol) == [pid]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in gateways(server, protocol) and server.status()["settled"], "one without a limit")
