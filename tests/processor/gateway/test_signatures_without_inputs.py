"""A signature without inputs beside one with some: a run sets up what it needs, not the setting of its first input."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.engines import load_engine
from corelane.processor.engines.engine import EngineOptions
from tests.support.server import serving


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("order", list(itertools.product(["weights", "serving_default"], repeat=3)))
def test_runs_take_turns_in_any_order(tensorflow_models: Path, order: tuple[str, ...], batching: bool) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "weights/1", EngineOptions(batching=batching))
    session = engine.make_session()
    for step, name in enumerate(order):
        inputs = {"x": np.full(step + 1, step, np.float32)} if name == "serving_default" else {}
        answer = engine.run(session, engine.signatures()[name], inputs, ["y"])["y"]
        expected = np.full(step + 1, 3 * step) if inputs else [3]
        np.testing.assert_array_equal(answer, np.asarray(expected, np.float32))


def test_a_server_that_batches_answers_both(tensorflow_models: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to(tensorflow_models / "weights")
    models = "models: [{name: weights, path: weights, engine: tensorflow, sessions: 1, batching: {max_rows: 8}}]"
    with serving(tmp_path, models) as server, server.client() as client, ThreadPoolExecutor(8) as threads:

        def ask(number: int) -> bool:
            if number % 3 == 0:
                return client.predict("weights", {}, signature="weights")["y"].tolist() == [3]
            return client.predict("weights", {"x": np.full(1, number, np.float32)})["y"].tolist() == [3 * number]

        assert all(threads.map(ask, range(120)))
        assert server.version("weights", 1)["state"] == "AVAILABLE"
