"""A run that never ends keeps its session, and in the pool a core, from everybody: its worker is restarted."""

from pathlib import Path

import pytest

from corelane.processor.errors import RequestError
from tests.support import onnx_models
from tests.support.server import serving, wait_until

ENDLESS = 10**15  # turns of a loop


def test_endless_runs_of_one_model_stop_no_other_for_good(tmp_path: Path) -> None:
    """They hold every core of the pool, and every session of their own version."""
    onnx_models.write_slow(tmp_path / "slow/1")
    onnx_models.write_scale(tmp_path / "a/1", 2)
    models = "models: [{name: slow, path: slow, role: ab, sessions: 2, run_timeout_s: 2}, {name: a, path: a, role: ab}]"
    with serving(tmp_path, models, environment={"CORELANE_HEARTBEAT_S": "2"}) as server, server.client() as client:
        server.wait_state("a", 1, "AVAILABLE")
        pid = server.wait_state("slow", 1, "AVAILABLE")["pid"]
        assert client.predict("slow", {"n": 5}, timeout_s=20)
        for _ in range(2):
            with pytest.raises(RequestError):
                client.predict("slow", {"n": ENDLESS}, timeout_s=0.5)

        def answered(model: str, inputs: dict[str, object]) -> bool:
            try:
                return bool(client.predict(model, inputs, timeout_s=5))
            except RequestError:
                return False

        wait_until(lambda: answered("a", {"x": [1.0]}), "the pool's cores")
        wait_until(lambda: answered("slow", {"n": 5}), "the next worker")
        found = server.version("slow", 1)
        assert found["pid"] != pid and found["restarts"] >= 1
        said = "a run did not end within 2 s (run_timeout_s of its model)"
        assert said in server.log.read_text()


def test_runs_that_end_in_time_are_left_alone(tmp_path: Path) -> None:
    onnx_models.write_slow(tmp_path / "slow/1")
    models = "models: [{name: slow, path: slow, sessions: 1, run_timeout_s: 2, queue: {timeout_ms: 60000}}]"
    with serving(tmp_path, models, environment={"CORELANE_HEARTBEAT_S": "1"}) as server, server.client() as client:
        pid = server.wait_state("slow", 1, "AVAILABLE")["pid"]
        for _ in range(300):
            client.predict("slow", {"n": 1000}, timeout_s=20)
        assert server.version("slow", 1)["pid"] == pid
