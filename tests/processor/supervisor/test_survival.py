"""What users do to servers, and what must be true afterwards. All of it on real servers, over gRPC."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from corelane.processor.errors import DeadlinePassed, Overloaded, RequestError, Unavailable
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.cycles import cycle
from tests.support.load import ScaleLoad
from tests.support.server import Server, serving, wait_until

SLOW = 400_000  # of the slow model: well over the time a test needs to act


# A virtual machine may take the one core of a version away for longer than the default lets a request wait.
PATIENT = "queue: {timeout_ms: 2000}"


def two_models(folder: Path) -> str:
    onnx_models.write_scale(folder / "a/1", 1)
    onnx_models.write_scale(folder / "b/1", 1)
    return f"models: [{{name: a, {PATIENT}, path: a}}, {{name: b, {PATIENT}, path: b}}]"


def slow_model(folder: Path, queue: str = "{}") -> str:
    onnx_models.write_slow(folder / "slow/1")
    return f"models: [{{name: slow, path: slow, sessions: 1, queue: {queue}}}]"


def test_ten_switches_by_folders_both_ways(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "a/1", 1)
    with (
        serving(tmp_path, f"models: [{{name: a, {PATIENT}, path: a}}]") as server,
        ScaleLoad(server.grpc, "a") as load,
    ):
        for version in range(2, 7):
            onnx_models.write_scale(tmp_path / f"unfinished-{version}", version).rename(tmp_path / f"a/{version}")
            server.wait_state("a", version, "AVAILABLE")
            server.wait_state("a", version - 1, "RETIRED")
        for version in range(6, 1, -1):
            (tmp_path / f"a/{version}").rename(tmp_path / f"gone-{version}")
            server.wait_state("a", version - 1, "AVAILABLE")
            server.wait_state("a", version, "RETIRED")
    assert load.failures == []
    assert load.wrong == []
    assert set(load.answers) == {1, 2, 3, 4, 5, 6}


def test_a_changed_setting_replaces_the_worker_of_the_same_version(tmp_path: Path) -> None:
    models = two_models(tmp_path)
    with serving(tmp_path, models) as server, ScaleLoad(server.grpc, "a") as load:
        before, other = server.version("a", 1)["pid"], server.version("b", 1)["pid"]
        server.apply(server.manifest.read_text().replace("path: a}", "path: a, sessions: 3}"))
        wait_until(lambda: server.version("a", 1).get("sessions") == 3, "three sessions")
        wait_until(lambda: not psutil.pid_exists(before), "the old worker's end")
        assert server.version("b", 1)["pid"] == other
    assert load.failures == []
    assert load.wrong == []


def test_killed_worker_comes_back_and_others_do_not_notice(tmp_path: Path) -> None:
    with (
        serving(tmp_path, two_models(tmp_path)) as server,
        ScaleLoad(server.grpc, "a") as hit,
        ScaleLoad(server.grpc, "b") as spared,
    ):
        for _ in range(3):
            killed = server.version("a", 1)["pid"]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: server.version("a", 1).get("pid") not in (killed, None), "a new worker")
            answered = sum(hit.answers.values())
            wait_until(lambda answered=answered: sum(hit.answers.values()) > answered + 20, "answers of it")
    assert spared.failures == []
    assert spared.wrong + hit.wrong == []
    assert {type(error) for error in hit.failures} <= {Unavailable}


def test_a_request_that_lost_its_worker_is_retried_within_its_deadline(tmp_path: Path) -> None:
    with serving(tmp_path, slow_model(tmp_path)) as server, server.client() as client:
        answers: list[int] = []
        caller = threading.Thread(
            target=lambda: answers.append(int(client.predict("slow", {"n": SLOW}, timeout_s=60)["total"]))
        )
        caller.start()
        running = wait_until(
            lambda: found if (found := server.version("slow", 1))["requests"]["running"] else None, "the run"
        )
        os.kill(running["pid"], signal.SIGKILL)
        caller.join()
        assert answers == [SLOW]
        assert server.version("slow", 1)["pid"] != running["pid"]


def test_a_request_without_deadline_fails_fast_when_its_worker_dies(tmp_path: Path) -> None:
    with serving(tmp_path, slow_model(tmp_path)) as server, server.client() as client:
        pid = server.version("slow", 1)["pid"]
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(Unavailable):
            client.predict("slow", {"n": 50 * SLOW})
        server.wait_state("slow", 1, "AVAILABLE")


def test_killed_gateway_is_restarted_and_clients_reconnect(tmp_path: Path) -> None:
    with serving(tmp_path, two_models(tmp_path)) as server, ScaleLoad(server.grpc, "a") as load:
        for _ in range(2):
            before = [gateway["pid"] for gateway in server.status()["gateways"]]
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda before=before: (
                    len(now := server.status()["gateways"]) == len(before)
                    and all(gateway["ready"] and gateway["pid"] not in before for gateway in now)
                ),
                "new gateways",
            )
            answered = sum(load.answers.values())
            wait_until(lambda answered=answered: sum(load.answers.values()) > answered + 20, "answers through them")
    assert load.wrong == []
    assert {type(error) for error in load.failures} <= {Unavailable}


def test_a_gateway_that_hangs_is_replaced_and_holds_up_no_switch(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "a/1", 1)
    with serving(tmp_path, f"models: [{{name: a, {PATIENT}, path: a}}]") as server:
        stuck = server.status()["gateways"][0]["pid"]
        os.kill(stuck, signal.SIGSTOP)
        onnx_models.write_scale(tmp_path / "2", 2).rename(tmp_path / "a/2")
        server.wait_state("a", 2, "AVAILABLE")
        server.wait_state("a", 1, "RETIRED")
        assert stuck not in [gateway["pid"] for gateway in server.status()["gateways"]]


def test_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    with serving(tmp_path, two_models(tmp_path)) as server:
        children = server.processes()[1:]
        assert len(children) == 4
        server.process.kill()
        server.process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []


def test_sigterm_answers_what_was_accepted_and_exits_0(tmp_path: Path) -> None:
    with serving(tmp_path, slow_model(tmp_path, "{timeout_ms: 60000}")) as server, server.client() as client:
        answers: list[int | RequestError] = []

        def call() -> None:
            try:
                answers.append(int(client.predict("slow", {"n": SLOW}, timeout_s=60)["total"]))
            except RequestError as error:
                answers.append(error)

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        wait_until(lambda: server.version("slow", 1)["requests"]["accepted"] == 4, "four accepted requests")
        assert server.stop() == 0
        for caller in callers:
            caller.join()
        assert answers == [SLOW] * 4


def test_sigterm_under_load_refuses_cleanly(tmp_path: Path) -> None:
    with serving(tmp_path, two_models(tmp_path)) as server, ScaleLoad(server.grpc, "a", timeout_s=2) as load:
        wait_until(lambda: sum(load.answers.values()) > 50, "load")
        assert server.stop() == 0
        load.end()
    assert load.wrong == []
    # What is refused at the door was never accepted.
    assert {type(error) for error in load.failures} <= {Unavailable}


def test_full_queue_is_refused_at_once_and_served_after(tmp_path: Path) -> None:
    models = slow_model(tmp_path, "{capacity: 2, timeout_ms: 60000}")
    with serving(tmp_path, models) as server, server.client() as client:
        answers: list[int] = []
        callers = [
            threading.Thread(
                target=lambda: answers.append(int(client.predict("slow", {"n": 5 * SLOW}, timeout_s=60)["total"]))
            )
            for _ in range(3)
        ]
        for caller in callers:
            caller.start()
        wait_until(lambda: server.version("slow", 1)["requests"]["queued"] == 2, "a full queue")
        with pytest.raises(Overloaded, match=r"queue of slow/1 is full: 2 requests wait \(queue.capacity\)"):
            client.predict("slow", {"n": 1}, timeout_s=60)
        assert len(answers) == 0, "the refusal did not wait for the requests before it"
        for caller in callers:
            caller.join()
        assert answers == [5 * SLOW] * 3
        assert client.predict("slow", {"n": 1})["total"] == 1


def occupy(client: Client, server: Server, calls: int = 1) -> list[threading.Thread]:
    """Callers that keep the slow model's only session busy until their deadline."""

    def call() -> None:
        with pytest.raises(DeadlinePassed):
            client.predict("slow", {"n": 5 * SLOW}, timeout_s=1)

    callers = [threading.Thread(target=call) for _ in range(calls)]
    for caller in callers:
        caller.start()
    wait_until(lambda: server.version("slow", 1)["requests"]["running"] == 1, "a busy session")
    return callers


def test_passed_deadline_is_dropped_before_it_runs(tmp_path: Path) -> None:
    with serving(tmp_path, slow_model(tmp_path, "{timeout_ms: 60000}")) as server, server.client() as client:
        callers = occupy(client, server)
        with pytest.raises(DeadlinePassed):
            client.predict("slow", {"n": 1}, timeout_s=0.2)
        for caller in callers:
            caller.join()
        assert client.predict("slow", {"n": 7}, timeout_s=60)["total"] == 7
        counts = wait_until(lambda: c if (c := server.version("slow", 1)["requests"])["running"] == 0 else None, "rest")
        # The one that kept the session busy lost its client as well, but only while it ran.
        assert (counts["accepted"], counts["answered"], counts["cancelled"] + counts["expired"]) == (3, 1, 2)


def test_too_long_in_the_queue_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, slow_model(tmp_path, "{timeout_ms: 50}")) as server, server.client() as client:
        callers = occupy(client, server)
        with pytest.raises(DeadlinePassed, match=r"waited 50 ms in the queue of slow/1 \(queue.timeout_ms\)"):
            client.predict("slow", {"n": 1}, timeout_s=30)
        for caller in callers:
            caller.join()


def test_a_client_that_hangs_up_frees_its_place(tmp_path: Path) -> None:
    models = slow_model(tmp_path, "{capacity: 1, timeout_ms: 60000}")
    with serving(tmp_path, models) as server, server.client() as client:
        callers = occupy(client, server)
        leaver = grpc.insecure_channel(server.grpc)
        predict = leaver.unary_unary("/tensorflow.serving.PredictionService/Predict")
        future = predict.future(_slow_request(1).SerializeToString(), timeout=60)
        wait_until(lambda: server.version("slow", 1)["requests"]["queued"] == 1, "a queued request")
        future.cancel()
        wait_until(lambda: server.version("slow", 1)["requests"]["queued"] == 0, "its place back")
        assert server.version("slow", 1)["requests"]["cancelled"] == 1
        leaver.close()
        for caller in callers:
            caller.join()


def _slow_request(n: int) -> Any:
    import numpy as np

    from corelane.processor.wire import messages, tensors

    request = messages.PredictRequest()
    request.model_spec.name = "slow"
    tensors.encode(np.array(n), request.inputs["n"])
    return request


def test_thirty_cycles_of_load_and_unload_leak_nothing(tmp_path: Path) -> None:
    models = two_models(tmp_path)
    with serving(tmp_path, models) as server:
        without = server.manifest.read_text().replace(f"{{name: a, {PATIENT}, path: a}}, ", "")
        growth = cycle(server, without, "a", cycles=30)
        assert growth.processes == 0
        assert growth.descriptors <= 1
        assert growth.memory_bytes < 8 * 2**20
