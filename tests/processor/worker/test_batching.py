"""Dynamic batching: what runs together, and that each request gets exactly its own answer."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.channel.methods import Method
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.errors import InvalidRequest
from corelane.processor.wire import messages, tensors
from tests.support.channels import Rig, ask, placements
from tests.support.server import wait_until
from tests.support.threads import in_threads


@pytest.fixture(scope="module")
def engine(tensorflow_models: Path) -> Iterator[TensorFlowEngine]:
    engine = load_engine("tensorflow", tensorflow_models / "tf2/1", EngineOptions(batching=True))
    assert isinstance(engine, TensorFlowEngine)
    yield engine
    engine.unload()


def request(rows: int, value: float, *, outputs: tuple[str, ...] = (), word: bytes = b"a") -> bytes:
    """For tf2: score = lookup(word) + 3 * sum(x), and the word in capitals."""
    message = messages.PredictRequest(output_filter=outputs)
    tensors.encode(np.full((rows, 2), value, np.float32), message.inputs["x"])
    tensors.encode(np.array([word] * rows, np.object_), message.inputs["word"])
    data: bytes = message.SerializeToString()
    return data


def score(rows: int, value: float) -> list[float]:
    return [1.0 + 6.0 * value] * rows


class Batched:
    """Calls that wait in the channel of a paused group, so that they are taken together when it wakes."""

    def __init__(self, engine: TensorFlowEngine, rows_max: int, wait_ns: int = 0) -> None:
        self.python: list[bytes] = []
        self.rig = Rig(self._fallback, capacity=40, model=engine.model, batch_rows_max=rows_max, batch_wait_ns=wait_ns)
        self.answers: dict[int, bytes | Exception] = {}
        self.threads: list[threading.Thread] = []
        assert self.rig.group.place([([], True)]) == ""

    def _fallback(self, session: int, method: int, data: bytes) -> tuple[int, bytes]:
        self.python.append(data)
        return 3, b"by Python"

    def call(self, number: int, data: bytes, method: Method = Method.PREDICT) -> None:
        def run() -> None:
            try:
                self.answers[number] = ask(self.rig.gateway(), data, method)
            except Exception as error:
                self.answers[number] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        wait_until(lambda: self.rig.channel.statistics()["queued"] == len(self.threads), "the request in the channel")

    def run(self) -> int:
        """Lets the session go; how often the engine ran."""
        assert self.rig.group.place(placements(1)) == ""
        for thread in self.threads:
            thread.join(20)
        self.rig.stop()
        return int(self.rig.channel.statistics()["runs"])

    def check(self, number: int, rows: int, value: float, word: bytes = b"A") -> None:
        answer = self.answers[number]
        assert isinstance(answer, bytes), answer
        outputs = messages.PredictResponse.FromString(answer).outputs
        assert outputs["score"].float_val == score(rows, value)
        assert list(outputs["upper"].string_val) == [word] * rows


def test_requests_of_one_signature_run_together_and_are_split_exactly(engine: TensorFlowEngine) -> None:
    batched = Batched(engine, rows_max=100)
    sizes = [1, 3, 2, 7, 1]
    for number, rows in enumerate(sizes):
        batched.call(number, request(rows, number))
    assert batched.run() == 1
    for number, rows in enumerate(sizes):
        batched.check(number, rows, number)


def test_max_rows_is_never_passed(engine: TensorFlowEngine) -> None:
    batched = Batched(engine, rows_max=4)
    for number, rows in enumerate([2, 2, 3, 1, 9, 1]):
        batched.call(number, request(rows, number))
    assert batched.run() == 4, "2 + 2, 3 + 1, 9 alone as it must, 1"
    for number, rows in enumerate([2, 2, 3, 1, 9, 1]):
        batched.check(number, rows, number)


def test_what_cannot_share_a_run_does_not(engine: TensorFlowEngine) -> None:
    batched = Batched(engine, rows_max=100)
    batched.call(0, request(1, 0))
    batched.call(1, request(1, 1, outputs=("upper", "score")))
    batched.call(2, request(0, 2))
    batched.call(3, request(1, 3))
    assert batched.run() == 4
    for number in (0, 3):
        batched.check(number, 1, number)
    batched.check(2, 0, 2)


def test_a_bad_request_in_a_batch_fails_alone(engine: TensorFlowEngine) -> None:
    batched = Batched(engine, rows_max=100)
    other = messages.PredictRequest.FromString(request(2, 1))
    other.inputs["x"].tensor_shape.dim[0].size = 3  # three rows here, two there: the graph refuses them
    other.inputs["x"].float_val.extend([1, 1])
    wrong = messages.PredictRequest.FromString(request(1, 1))
    wrong.inputs.pop("word")
    batched.call(0, request(1, 0))
    batched.call(1, other.SerializeToString())
    batched.call(2, wrong.SerializeToString())
    batched.call(3, b"\xff", Method.CLASSIFY)
    batched.call(4, request(2, 4))
    batched.run()
    batched.check(0, 1, 0)
    batched.check(4, 2, 4)
    assert all(isinstance(batched.answers[number], InvalidRequest) for number in (1, 2, 3))
    assert len(batched.python) == 2, "the incomplete request and the other call"


def test_values_that_fail_in_the_graph_fail_alone(tensorflow_models: Path) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "picky/1", EngineOptions(batching=True))
    assert isinstance(engine, TensorFlowEngine)
    batched = Batched(engine, rows_max=100)
    for number, value in enumerate([1.0, -1.0, 3.0]):
        message = messages.PredictRequest()
        tensors.encode(np.full(2, value, np.float32), message.inputs["x"])
        batched.call(number, message.SerializeToString())
    assert batched.run() == 2, "together, which failed; then each alone, of which one failed"
    assert isinstance(batched.answers[1], InvalidRequest)
    assert "negative" in str(batched.answers[1])
    for number, value in ((0, 1.0), (2, 3.0)):
        answer = batched.answers[number]
        assert isinstance(answer, bytes)
        assert messages.PredictResponse.FromString(answer).outputs["y"].float_val == [value] * 2
    engine.unload()


def test_the_wait_for_more_ends(engine: TensorFlowEngine) -> None:
    batched = Batched(engine, rows_max=100, wait_ns=2_000_000)
    batched.call(0, request(1, 0))
    assert batched.run() == 1
    batched.check(0, 1, 0)


def test_many_callers_get_their_own_rows(engine: TensorFlowEngine) -> None:
    rig = Rig(sessions=2, capacity=40, model=engine.model, batch_rows_max=16, batch_wait_ns=200_000)
    wrong: list[int] = []

    def call(caller: int) -> None:
        gateway = rig.gateway(caller + 1)
        for number in range(100):
            rows, value = 1 + number % 3, caller * 1000 + number
            answer = ask(gateway, request(rows, value))
            if messages.PredictResponse.FromString(answer).outputs["score"].float_val != score(rows, value):
                wrong.append(number)

    in_threads(6, call)
    counts = rig.channel.statistics()
    rig.stop()
    assert wrong == []
    assert counts["answered"] == 600
    assert counts["runs"] < 600, "some of them ran together"
    assert counts["through_python"] == 0
