"""Shapes are the graph's to judge: what TensorFlow answers is answered, by every engine that runs its graphs."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from corelane.processor import _native
from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine, EngineOptions, NativeEngine, load_engine
from corelane.processor.errors import FailedPrecondition, InvalidRequest, LoadError, NotFound, RequestError
from corelane.processor.plans import fused_engine
from corelane.processor.plans.fusing import compile_and_compare, original_of, plan_of
from corelane.processor.serving.inference import Inference
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.server import WITH_REST, serving
from tests.support.threads import in_threads

Inputs = dict[str, np.ndarray]
SETTINGS = _native.PredictSettings(
    model="m", version=1, tensor_content=False, response_bytes_max=1 << 20, tensor_bytes_max=1 << 20
)
ROW_SHAPES = [(2,), (2, 1), (), (1, 1, 1), (0,), (0, 1), (2, 3), (3, 0, 2)]


def predict_request(inputs: Inputs, signature: str = "") -> Any:
    request = messages.PredictRequest()
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        tensors.encode(array, request.inputs[name])
    return request


def infer_request(inputs: Inputs) -> Any:
    request = messages.ModelInferRequest()
    for name, array in inputs.items():
        entry = request.inputs.add(name=name, datatype="BYTES" if array.dtype == object else "FP32", shape=array.shape)
        contents = entry.contents.bytes_contents if array.dtype == object else entry.contents.fp32_contents
        contents.extend(array.ravel().tolist())
    return request


def native(engine: Engine, data: bytes, *, infer: bool = False) -> tuple[_native.PredictResult, bytes, int]:
    assert isinstance(engine, NativeEngine)
    return _native.PredictSession(engine.model, engine.make_session(), SETTINGS).predict(data, infer)


def run(engine: Engine, inputs: Inputs) -> Inputs | type[RequestError]:
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    try:
        return engine.run(engine.make_session(), signature, inputs, list(signature.outputs))
    except RequestError as error:
        return type(error)


@pytest.fixture(scope="module")
def half_plus_two(serving_models: Path) -> Iterator[Engine]:
    engine = load_engine("tensorflow", serving_models / "half_plus_two/1", EngineOptions())
    yield engine
    engine.unload()


@pytest.mark.parametrize("shape", ROW_SHAPES)
def test_the_native_path_takes_any_shape(half_plus_two: Engine, shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert half_plus_two.signatures()[DEFAULT_SIGNATURE].inputs["x"].shape == (-1, 1)
    result, data, _ = native(half_plus_two, predict_request({"x": x}).SerializeToString())
    assert result is _native.PredictResult.RAN
    y = tensors.decode("y", messages.PredictResponse.FromString(data).outputs["y"], bytes_max=1 << 20)
    np.testing.assert_array_equal(y, x / 2 + 2)
    assert y.shape == shape
    result, data, _ = native(half_plus_two, infer_request({"x": x}).SerializeToString(), infer=True)
    assert result is _native.PredictResult.RAN
    assert tuple(messages.ModelInferResponse.FromString(data).outputs[0].shape) == shape


@pytest.mark.parametrize("shape", ROW_SHAPES)
def test_pythons_path_takes_any_shape(half_plus_two: Engine, shape: tuple[int, ...]) -> None:
    calls = Inference(engine=half_plus_two, model="m", version=1, message_bytes_max=1 << 20)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    session = half_plus_two.make_session()
    data = calls.handle(session, Method.PREDICT, predict_request({"x": x}).SerializeToString())
    y = tensors.decode("y", messages.PredictResponse.FromString(data).outputs["y"], bytes_max=1 << 20)
    np.testing.assert_array_equal(y, x / 2 + 2)
    data = calls.handle(session, Method.INFER, infer_request({"x": x}).SerializeToString())
    (output,) = messages.ModelInferResponse.FromString(data).outputs
    assert tuple(output.shape) == shape


@pytest.fixture(scope="module")
def plan(serving_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "1"
    compile_and_compare(serving_models / "shapes/1", out)
    return out


def words(shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(int(np.prod(shape)), np.object_)
    array[:] = [b"w%d" % number for number in range(array.size)]
    return array.reshape(shape)


def test_a_plan_answers_what_its_original_does(serving_models: Path, plan: Path) -> None:
    """Every pair of shapes, on one session: those that fit the plan between those that do not."""
    original = load_engine("tensorflow", serving_models / "shapes/1", EngineOptions())
    fused = load_engine("fused", plan, EngineOptions())
    word_shapes = [(2, 1), (2,), (1, 2), (), (0, 1), (0,), (2, 1, 1), (3, 1), (2, 2)]
    number_shapes = [(2, 3), (6,), (3,), (0, 3), (2, 1, 3), (1, 3), (4, 3), (2, 2)]
    signature = fused.signatures()[DEFAULT_SIGNATURE]
    session, expected_session = fused.make_session(), original.make_session()
    answered = refused = 0
    for x, f in itertools.product(word_shapes, number_shapes):
        inputs = {"x": words(x), "f": np.arange(np.prod(f), dtype=np.float32).reshape(f) / 7}
        try:
            expected = original.run(expected_session, signature, inputs, ["y"])["y"]
        except InvalidRequest:
            with pytest.raises(InvalidRequest):
                fused.run(session, signature, inputs, ["y"])
            refused += 1
            continue
        y = fused.run(session, signature, inputs, ["y"])["y"]
        assert y.shape == expected.shape, (x, f)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        answered += 1
    assert answered > 15 and refused > 15


def test_the_original_answers_natively_once_it_is_there(plan: Path) -> None:
    engine = load_engine("fused", plan, EngineOptions())
    misfit = predict_request({"x": words((2,)), "f": np.ones((2, 3), np.float32)}).SerializeToString()
    assert native(engine, misfit)[0] is _native.PredictResult.REFUSED
    run(engine, {"x": words((2,)), "f": np.ones((2, 3), np.float32)})
    assert native(engine, misfit)[0] is _native.PredictResult.RAN
    fitting = predict_request({"x": words((2, 1)), "f": np.ones((2, 3), np.float32)}).SerializeToString()
    assert native(engine, fitting)[0] is _native.PredictResult.RAN


def test_requests_that_do_not_fit_run_alone(serving_models: Path, tmp_path: Path) -> None:
    """Requests are merged along their first axis, which one of another rank may not have."""
    manifest = (
        f"models: [{{name: m, path: {serving_models / 'half_plus_two'}, engine: tensorflow, sessions: 1,"
        " batching: {max_rows: 64, max_wait_us: 50000}}]"
    )
    shapes = [(2, 1), (2,), (2, 2), (1, 1), (3,), (2, 1, 1)] * 4
    inputs = [np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n, shape in enumerate(shapes)]
    answers: dict[int, np.ndarray] = {}
    with serving(tmp_path, manifest) as server, server.client() as client:

        def call(number: int) -> None:
            answers[number] = client.predict("m", {"x": inputs[number]})["y"]

        in_threads(len(shapes), call)
    for number, x in enumerate(inputs):
        np.testing.assert_allclose(answers[number], x / 2 + 2, rtol=1e-6)
        assert answers[number].shape == x.shape


def test_a_plan_carries_its_original(serving_models: Path, plan: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere/1"
    shutil.copytree(plan, copy)
    misfit, fitting = ({"x": words(shape), "f": np.ones((2, 3), np.float32)} for shape in ((2,), (2, 1)))
    assert isinstance(run(load_engine("fused", copy, EngineOptions()), misfit), dict)
    shutil.rmtree(copy / "original")
    engine = load_engine("fused", copy, EngineOptions())
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"compiled for other shapes than .*compile the plan again"):
            engine.run(engine.make_session(), signature, misfit, ["y"])
    assert isinstance(run(engine, fitting), dict), "the plan goes on"


def test_links_are_followed_to_the_files(serving_models: Path, tmp_path: Path) -> None:
    """A version's files may be links, as a Kubernetes volume has them; a plan is to outlive those."""
    (tmp_path / "model").mkdir()
    for entry in (serving_models / "shapes/1").iterdir():
        (tmp_path / "model" / entry.name).symlink_to(entry)
    compile_and_compare(tmp_path / "model", tmp_path / "plan")
    originals = [path for path in (tmp_path / "plan/original").rglob("*") if path.is_file()]
    assert originals
    assert not any(path.is_symlink() for path in (tmp_path / "plan/original").rglob("*"))


def test_a_kept_plan_knows_whether_its_original_changed(serving_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(serving_models / "shapes/1", folder)
    cache = tmp_path / "cache"
    plan, _ = plan_of(folder, cache)
    assert not (plan / "original").exists(), "the version's folder has it"
    assert original_of(plan, folder, cache) == folder
    variables = folder / "variables/variables.data-00000-of-00001"
    variables.write_bytes(variables.read_bytes()[::-1])
    with pytest.raises(LoadError, match="others than those that the plan was made of"):
        original_of(plan, folder, cache)
    shutil.rmtree(folder)
    with pytest.raises(LoadError, match="are gone"):
        original_of(plan, folder, cache)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_keep_to_their_signature(tmp_path: Path, engine: str) -> None:
    """Their models say what they take: the signature is the model's own, and the refusal names it."""
    onnx_models.write_scale(tmp_path / "1", 2)
    loaded = load_engine(engine, tmp_path / "1", EngineOptions())
    calls = Inference(engine=loaded, model="m", version=1, message_bytes_max=1 << 20)
    data = predict_request({"x": np.ones((2, 2), np.float32)}).SerializeToString()
    with pytest.raises(InvalidRequest, match=r'input "x" has shape \[2, 2\], which does not fit \[-1\]'):
        calls.handle(loaded.make_session(), Method.PREDICT, data)


def test_served(serving_models: Path, tmp_path: Path) -> None:
    """By gRPC, KServe and REST; by TensorFlow, and by a plan that was compiled at the load."""
    shutil.copytree(serving_models / "shapes", tmp_path / "shapes")
    manifest = (
        f"models: [{{name: half, path: {serving_models / 'half_plus_two'}, engine: tensorflow}},"
        " {name: fused, path: shapes, engine: fused}]"
    )
    with serving(tmp_path, manifest, listen=WITH_REST) as server, server.client() as client:
        assert server.wait_state("fused", 1, "AVAILABLE")["engine"] == "fused"
        np.testing.assert_array_equal(client.predict("half", {"x": np.float32([2])})["y"], np.float32([3]))
        for body, answer in (
            ({"instances": [1, 2, 5]}, {"predictions": [2.5, 3.0, 4.5]}),
            ({"instances": [[1], [2]]}, {"predictions": [[2.5], [3.0]]}),
            ({"inputs": 2}, {"outputs": 3.0}),
        ):
            assert ask(server.http, "POST", "/v1/models/half:predict", body).json == answer
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}
        assert ask(server.http, "POST", "/v2/models/half/infer", body).json["outputs"][0]["data"] == [2.5, 3.0]

        original = load_engine("tensorflow", serving_models / "shapes/1", EngineOptions())
        for shape in ((2,), (2, 1), (2,)):
            inputs = {"x": words(shape), "f": np.ones((2, 3), np.float32)}
            expected = run(original, inputs)
            assert isinstance(expected, dict)
            np.testing.assert_allclose(client.predict("fused", inputs)["y"], expected["y"], rtol=1e-5)
        with pytest.raises(InvalidRequest, match="ConcatOp"):
            client.predict("fused", {"x": words((2,)), "f": np.ones((3, 3), np.float32)})
        assert "its original is loaded beside it" in server.log.read_text()


@pytest.mark.parametrize("problem", ["tensorflow is not installed", "memory"])
def test_an_original_that_cannot_be_loaded_is_an_answer(
    plan: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """The plan goes on; what it does not cover says why."""
    engine = load_engine("fused", plan, EngineOptions())
    if problem == "memory":
        monkeypatch.setattr(fused_engine.resource, "getrlimit", lambda _: (64 << 20, 64 << 20))
    else:
        monkeypatch.setattr(fused_engine, "is_installed", lambda engine: engine != "tensorflow")
    misfit, fitting = ({"x": words(shape), "f": np.ones((2, 3), np.float32)} for shape in ((2,), (2, 1)))
    signature, session = engine.signatures()[DEFAULT_SIGNATURE], engine.make_session()
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=rf"its original cannot be loaded: .*{problem}"):
            engine.run(session, signature, misfit, ["y"])
    assert engine.run(session, signature, fitting, ["y"])["y"].shape == (2, 4)


def test_the_graphs_codes_reach_the_caller(tensorflow_models: Path) -> None:
    """As TensorFlow has them: what is missing is not our failure, and no model that is not served either."""
    engine = load_engine("tensorflow", tensorflow_models / "files/1", EngineOptions())
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    path = np.array(b"/nonesuch", np.object_)
    with pytest.raises(NotFound, match="/nonesuch; No such file") as caught:
        engine.run(engine.make_session(), signature, {"path": path}, ["content"])
    assert type(caught.value) is NotFound
    result, _, code = native(engine, predict_request({"path": path}).SerializeToString())
    assert (result, code) == (_native.PredictResult.FAILED, grpc.StatusCode.NOT_FOUND.value[0])
