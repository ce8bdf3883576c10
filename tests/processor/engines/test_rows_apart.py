"""Requests run together only where each row is answered from that row: shown by the graph, and tried.

Each signature of `rows` is called by several callers at once whose requests differ in rows and values; each must get
what it gets alone, whatever ran together.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine, EngineOptions, NativeEngine, load_engine
from corelane.processor.plans.fusing import compile_and_compare
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import Signature
from tests.support.batching_models import APART, JOINED
from tests.support.channels import Rig, ask, placements
from tests.support.server import serving, wait_until
from tests.support.threads import in_threads

CALLERS = 6
Inputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def engine(batching_models: Path) -> Iterator[Engine]:
    engine = load_engine("tensorflow", batching_models / "rows/1", EngineOptions(batching=True))
    yield engine
    engine.unload()


@pytest.mark.parametrize("name", APART)
def test_rows_apart_run_together(engine: Engine, name: str) -> None:
    assert engine.signatures()[f"apart_{name}"].joins_rows == ""
    assert runs_of_many(engine, f"apart_{name}") == 1


@pytest.mark.parametrize("name", JOINED)
def test_joined_rows_never_run_together(engine: Engine, name: str) -> None:
    assert engine.signatures()[f"joined_{name}"].joins_rows != ""
    assert runs_of_many(engine, f"joined_{name}") == CALLERS


def runs_of_many(engine: Engine, name: str) -> int:
    """How often the engine ran for requests that wait in one channel; checks every answer against that alone."""
    assert isinstance(engine, NativeEngine)
    signature = engine.signatures()[name]
    rig = Rig(capacity=40, model=engine.model, batch_rows_max=100)
    assert rig.group.place([([], True)]) == ""
    requests = [made(signature, seed) for seed in range(CALLERS)]
    answers: dict[int, bytes | Exception] = {}
    threads = []

    def call(number: int) -> None:
        try:
            answers[number] = ask(rig.gateway(), message_of(signature, requests[number]), Method.PREDICT)
        except Exception as error:
            answers[number] = error

    for number in range(CALLERS):
        threads.append(threading.Thread(target=call, args=(number,)))
        threads[-1].start()
        wait_until(lambda: rig.channel.statistics()["queued"] == len(threads), "the request in the channel")
    assert rig.group.place(placements(1)) == ""
    for thread in threads:
        thread.join(20)
    rig.stop()
    for number, inputs in enumerate(requests):
        check(answers[number], alone(engine, signature, inputs))
    return int(rig.channel.statistics()["runs"])


def alone(engine: Engine, signature: Signature, inputs: Inputs) -> Inputs:
    return engine.run(engine.make_session(), signature, inputs, list(signature.outputs))


def check(answer: bytes | Exception, expected: Inputs) -> None:
    assert isinstance(answer, bytes), answer
    response = messages.PredictResponse.FromString(answer)
    for name, array in expected.items():
        found = tensors.decode(name, response.outputs[name], bytes_max=1 << 20)
        assert found.shape == array.shape
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found, array, rtol=1e-5, atol=1e-6)
        else:
            assert (found == array).all()


def message_of(signature: Signature, inputs: Inputs) -> bytes:
    message = messages.PredictRequest()
    message.model_spec.signature_name = signature.name
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    data: bytes = message.SerializeToString()
    return data


def made(signature: Signature, seed: int, largest: int = 4) -> Inputs:
    """Inputs of one to three rows, each number another. Ids are the same as often as they differ."""
    source = np.random.default_rng(seed)
    rows = int(source.integers(1, 4))
    found: dict[str, Any] = {}
    for name, spec in signature.inputs.items():
        assert spec.shape is not None
        shape = [rows, *(2 if size == -1 else size for size in spec.shape[1:])]
        if spec.dtype == "DT_STRING":
            words = [b"x".join([b"Ab"] * int(count)) for count in source.integers(1, 5, int(np.prod(shape)))]
            found[name] = np.array([*words, None], np.object_)[:-1].reshape(shape)
        elif spec.dtype == "DT_INT64":
            found[name] = source.integers(0, largest, shape)
        else:
            found[name] = source.standard_normal(shape).astype(np.float32)
    return found


def test_no_caller_gets_anothers_rows_over_the_wire(batching_models: Path, tmp_path: Path) -> None:
    """Forty at once, of each signature, while requests are held back to be put together."""
    engine = load_engine("tensorflow", batching_models / "rows/1", EngineOptions())
    manifest = (
        f"models: [{{name: rows, path: {batching_models / 'rows'}, engine: tensorflow, sessions: 1, "
        "batching: {max_rows: 64, max_wait_us: 3000}, queue: {timeout_ms: 20000}}]"
    )
    names = [
        "joined_softmax_over_rows", "joined_centred", "joined_ranks", "joined_bags", "joined_user_of_all",
        "joined_repeat", "joined_positive", "apart_dense", "apart_attention", "apart_lookup",
    ]  # fmt: skip
    wrong: list[str] = []
    with serving(tmp_path, manifest) as server, server.client() as client:

        def call(caller: int) -> None:
            for turn in range(len(names)):
                signature = engine.signatures()[names[(turn + caller) % len(names)]]
                inputs = made(signature, caller * 100 + turn)
                found = client.predict("rows", inputs, signature=signature.name, timeout_s=20)["y"]
                expected = alone(engine, signature, inputs)["y"]
                if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-5, atol=1e-6):
                    wrong.append(signature.name)

        in_threads(40, call)
    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "joins"),
    [("hash", ""), ("vocabulary", ""), ("hash_wide", ""), ("numeric", ""), ("sequences", "longest")],
)
def test_fused_plans_say_whether_rows_are_apart(fused_models: Path, tmp_path: Path, kind: str, joins: str) -> None:
    compile_and_compare(fused_models / kind / "1", tmp_path / "plan")
    engine = load_engine("fused", tmp_path / "plan", EngineOptions(batching=True))
    for name, signature in engine.signatures().items():
        assert (joins in signature.joins_rows) if joins else signature.joins_rows == ""
        assert runs_of_many(engine, name) == (CALLERS if joins else 1)


def _openvino_models() -> dict[str, Any]:
    """Functions of a parameter x [?, 3] and one i [?] to an output; those that begin with `apart` keep rows apart."""
    from openvino import opset13 as ops

    def numbers(*values: int) -> Any:
        return ops.constant(np.array(values, np.int64))

    def scalar(value: int) -> Any:
        return ops.constant(np.array(value, np.int64))

    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    return {
        "apart_dense": lambda x, i: ops.relu(ops.matmul(x, ops.constant(rows[:3]), False, False)),
        "apart_softmax": lambda x, i: ops.softmax(x, 1),
        "apart_mean": lambda x, i: ops.subtract(x, ops.reduce_mean(x, numbers(1), True)),
        "apart_lookup": lambda x, i: ops.add(x, ops.gather(ops.constant(rows), i, scalar(0))),
        "apart_reshape": lambda x, i: ops.reshape(ops.reshape(x, numbers(-1, 3, 1), False), numbers(0, 3), True),
        "apart_concat": lambda x, i: ops.concat([x, ops.convert(ops.unsqueeze(i, numbers(1)), "f32")], 1),
        "apart_sized": lambda x, i: ops.reshape(
            x, ops.concat([ops.gather(ops.shape_of(x), numbers(0), scalar(0)), numbers(3)], 0), False
        ),
        "joined_softmax": lambda x, i: ops.softmax(x, 0),
        "joined_centred": lambda x, i: ops.subtract(x, ops.reduce_mean(x, numbers(0), True)),
        "joined_other_input": lambda x, i: ops.gather(x, ops.floor_mod(i, scalar(1)), scalar(0)),
        "joined_first_row": lambda x, i: ops.add(
            x, ops.strided_slice(x, numbers(0, 0), numbers(1, 3), numbers(1, 1), [0, 0], [0, 0])
        ),
        "joined_running_sum": lambda x, i: ops.cum_sum(x, scalar(0)),
        "joined_gram": lambda x, i: ops.matmul(x, x, False, True),
        "joined_outer": lambda x, i: ops.add(ops.convert(i, "f32"), ops.gather(x, numbers(0), scalar(1))),
        "joined_sum": lambda x, i: ops.add(x, ops.reduce_sum(x, numbers(0, 1), True)),
        "joined_places": lambda x, i: ops.add(
            ops.convert(i, "f32"),
            ops.range(scalar(0), ops.gather(ops.shape_of(x), scalar(0), scalar(0)), scalar(1), "f32"),
        ),
    }


@pytest.mark.parametrize("name", _openvino_models())
def test_openvino_models(tmp_path: Path, name: str) -> None:
    import openvino
    from openvino import opset13 as ops

    x, i = ops.parameter([-1, 3], np.float32, name="x"), ops.parameter([-1], np.int64, name="i")
    for parameter, alias in ((x, "x"), (i, "i")):
        parameter.output(0).set_names({alias})
    made_output = _openvino_models()[name](x, i)
    made_output.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([made_output], [x, i], "m"), str(tmp_path / "m.xml"), compress_to_fp16=False)
    engine = load_engine("openvino", tmp_path, EngineOptions(batching=True))
    (signature,) = engine.signatures().values()
    assert (signature.joins_rows == "") == name.startswith("apart"), signature.joins_rows
    assert runs_of_many(engine, signature.name) == (1 if name.startswith("apart") else CALLERS)
