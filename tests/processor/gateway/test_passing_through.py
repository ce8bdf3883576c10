"""Outputs that are inputs, which TensorFlow refuses to feed and fetch in one run: the answer is what was sent."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.processor import _native
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.engine import NativeEngine
from corelane.processor.errors import InvalidRequest
from corelane.processor.plans.compiler import compile_saved_model
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES
from tests.processor.wire.test_tensors import array_of, same
from tests.support.server import serving

X, WORD = np.float32([1.5, -2, 3]), np.array([b"a", b"b\0", b""], np.object_)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def engine(request: pytest.FixtureRequest, serving_models: Path) -> Iterator[NativeEngine]:
    """bf16 is a copy of the graph, in which what is fetched lies elsewhere. TensorFlow makes it on any processor."""
    engine = load_engine("tensorflow", serving_models / "passing/1", EngineOptions(precision=request.param))
    assert isinstance(engine, NativeEngine)
    yield engine
    engine.unload()


def answer(
    engine: NativeEngine, inputs: dict[str, np.ndarray], signature: str = "", outputs: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """By the native path alone."""
    request = messages.PredictRequest(output_filter=outputs)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        tensors.encode(array, request.inputs[name])
    settings = _native.PredictSettings(
        model="m", version=1, tensor_content=False, response_bytes_max=1 << 20, tensor_bytes_max=1 << 20
    )
    session = _native.PredictSession(engine.model, engine.make_session(), settings)
    result, data, _ = session.predict(request.SerializeToString())
    assert result is _native.PredictResult.RAN, data
    response = messages.PredictResponse.FromString(data)
    return {name: tensors.decode(name, proto, bytes_max=1 << 20) for name, proto in response.outputs.items()}


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 3), (2, 3)])
def test_every_type(engine: NativeEngine, shape: tuple[int, ...]) -> None:
    inputs = {
        SHORT_NAMES[dtype]: np.nan_to_num(array)
        if (array := array_of(dtype, shape, b"\1\2\3")).dtype.kind in "fc"
        else array
        for dtype in NUMPY_TYPES
    }
    outputs = answer(engine, inputs, "types")
    assert len(outputs) == len(NUMPY_TYPES)
    for name, array in inputs.items():
        same(outputs[f"{name}_out"], array)


def test_beside_computed_outputs(engine: NativeEngine) -> None:
    expected = {"word": WORD, "double": X * 2, "x": X, "again": X, "upper": np.array([b"A", b"B\0", b""], np.object_)}
    outputs = answer(engine, {"x": X, "word": WORD})
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        same(outputs[name], array)


@pytest.mark.parametrize(
    "outputs",
    [("x",), ("word", "again"), ("double", "x"), ("x", "double"), ("again", "upper", "word", "double", "x")],
)
def test_an_output_filter_chooses_among_them(engine: NativeEngine, outputs: tuple[str, ...]) -> None:
    expected = {"word": WORD, "double": X * 2, "x": X, "again": X, "upper": np.array([b"A", b"B\0", b""], np.object_)}
    found = answer(engine, {"x": X, "word": WORD}, outputs=outputs)
    assert found.keys() == set(outputs)
    for name in outputs:
        same(found[name], expected[name])


def test_signatures_take_turns_on_a_session(engine: NativeEngine) -> None:
    """What is kept of one run never shows in the next."""
    session = engine.make_session()
    for turn in range(3):
        x = X + turn
        for name, inputs, expected in (
            ("alone", {"x": x}, {"y": x}),
            ("twice_fetched", {"x": x[:turn]}, {"a": x[:turn] * 2, "b": x[:turn] * 2}),
            ("serving_default", {"x": x[:1], "word": WORD[turn:]}, {"again": x[:1], "word": WORD[turn:]}),
        ):
            found = engine.run(session, engine.signatures()[name], inputs, list(expected))
            for output, array in expected.items():
                same(found[output], array)


def test_an_input_under_two_names_is_refused_as_tensorflow_does(engine: NativeEngine) -> None:
    with pytest.raises(InvalidRequest, match="fed more than once"):
        engine.run(engine.make_session(), engine.signatures()["twice_fed"], {"a": X, "b": X}, ["y"])


def test_in_a_fused_plan(serving_models: Path, tmp_path: Path) -> None:
    reports = compile_saved_model(serving_models / "passing_hash/1", tmp_path / "plan")
    assert all(report.why_not is None for report in reports)
    engines = [
        load_engine("tensorflow", serving_models / "passing_hash/1", EngineOptions()),
        load_engine("fused", tmp_path / "plan", EngineOptions()),
    ]
    inputs = {"x": WORD, "f": np.arange(9, dtype=np.float32).reshape(3, 3)}
    cases = [
        *(("serving_default", outputs) for outputs in (["y", "x", "f"], ["f"], ["x", "y"], ["y"])),
        *(("numbers", outputs) for outputs in (["y", "f", "again"], ["again"], ["f", "y"])),
    ]
    for signature, outputs in cases:
        expected, found = (
            engine.run(engine.make_session(), engine.signatures()[signature], inputs, outputs) for engine in engines
        )
        for name in outputs:
            assert found[name].shape == expected[name].shape
            if name == "y":
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
            else:
                same(found[name], inputs["x" if name == "x" else "f"])


def test_served(serving_models: Path, tmp_path: Path) -> None:
    """Batched, too: each caller gets its own."""
    manifest = (
        f"models: [{{name: m, path: {serving_models / 'passing'}, engine: tensorflow,"
        " batching: {max_rows: 64, max_wait_us: 1000}}]"
    )
    with serving(tmp_path, manifest) as server, server.client() as client:
        outputs = client.predict("m", {"x": X, "word": WORD})
        same(outputs["x"], X)
        same(outputs["word"], WORD)
        np.testing.assert_array_equal(outputs["double"], X * 2)
