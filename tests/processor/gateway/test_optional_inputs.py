"""Inputs that may be left out: ONNX's initializers that are inputs, and TensorFlow's defaults; by every protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import helper, numpy_helper
from tritonclient.utils import InferenceServerException

from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.onnx_initializers import BYTES_MAX, optional_inputs
from corelane.processor.errors import InvalidRequest, LoadError
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, NUMPY_TYPES
from tests.processor.engines.test_engines import ONNX_TYPES
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving

X = np.float32([1, 2])
ONNX = ("runtime", "vino")
TENSORFLOW = ("graph", "plan")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, signature_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_options(folder / "options/1")
    entries = [
        "{name: runtime, path: options, engine: onnxruntime}",
        "{name: vino, path: options, engine: openvino, precision: fp32}",
        f"{{name: graph, path: {signature_models / 'mixed'}, engine: tensorflow}}",
        f"{{name: plan, path: {signature_models / 'mixed'}, engine: fused, precision: fp32}}",
    ]
    with serving(folder, f"models: [{', '.join(entries)}]", listen=WITH_REST) as running:
        for name in (*ONNX, *TENSORFLOW):
            running.wait_state(name, 1, "AVAILABLE")
        yield running


def inputs_for(model: str, **options: Any) -> dict[str, Any]:
    """The required inputs, of which `wanted` is the answer, and some of the optional ones."""
    words = {"word": np.array([b"a", b"b"], object)} if model in TENSORFLOW else {}
    return {"x": X, **words, **{name: np.array(value, np.float32) for name, value in options.items()}}


def plain(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [item.decode() for item in array] if array.dtype == object else array.tolist()
        for name, array in inputs.items()
    }


@pytest.mark.parametrize("model", [*ONNX, *TENSORFLOW])
def test_given_and_left_out_by_every_protocol(server: Server, model: str) -> None:
    with Client(server.grpc) as client:
        twice = client.predict(model, inputs_for(model))["y"]
        once = client.predict(model, inputs_for(model, factor=1))["y"]
        zero = client.predict(model, inputs_for(model, factor=0))["y"]
        np.testing.assert_array_equal(twice, once * 2)
        np.testing.assert_array_equal(zero, [0, 0])
    if model in ONNX:
        np.testing.assert_array_equal(once, X)
    for options, expected in (({}, twice), ({"factor": 1}, once), ({"factor": 3}, once * 3)):
        inputs = inputs_for(model, **options)
        tensors = [
            triton.InferInput(name, array.shape, "BYTES" if array.dtype == object else "FP32")
            for name, array in inputs.items()
        ]
        for tensor, array in zip(tensors, inputs.values(), strict=True):
            tensor.set_data_from_numpy(array)
        with triton.InferenceServerClient(server.grpc) as kserve:
            np.testing.assert_array_equal(kserve.infer(model, tensors).as_numpy("y"), expected)
        body = [
            {
                "name": name,
                "datatype": "BYTES" if array.dtype == object else "FP32",
                "shape": list(array.shape),
                "data": plain(inputs)[name] if array.ndim else [array.item()],
            }
            for name, array in inputs.items()
        ]
        answer = ask(server.http, "POST", f"/v2/models/{model}/infer", {"inputs": body})
        assert answer.json["outputs"][0]["data"] == expected.tolist()
        answer = ask(server.http, "POST", f"/v1/models/{model}:predict", {"inputs": plain(inputs)})
        assert answer.json == {"outputs": expected.tolist()}
    rows = [
        dict(zip(inputs_for(model), row, strict=True)) for row in zip(*plain(inputs_for(model)).values(), strict=True)
    ]
    answer = ask(server.http, "POST", f"/v1/models/{model}:predict", {"instances": rows})
    assert answer.json == {"predictions": twice.tolist()}


@pytest.mark.parametrize("model", ONNX)
def test_an_optional_input_in_rows(server: Server, model: str) -> None:
    rows = [{"x": 1.0, "shift": 10.0}, {"x": 2.0, "shift": 20.0}]
    answer = ask(server.http, "POST", f"/v1/models/{model}:predict", {"instances": rows})
    assert answer.json == {"predictions": [12.0, 24.0]}
    del rows[1]["shift"]
    answer = ask(server.http, "POST", f"/v1/models/{model}:predict", {"instances": rows})
    assert "keys must be equal to: factor,shift,x" in answer.json["error"]


@pytest.mark.parametrize("model", [*ONNX, *TENSORFLOW])
def test_names_that_are_none_are_still_refused(server: Server, model: str) -> None:
    with Client(server.grpc) as client:
        with pytest.raises(InvalidRequest, match=r"Sent extra: \{facto\}|invalid name"):
            client.predict(model, inputs_for(model, facto=1))
        with pytest.raises(InvalidRequest, match=r"Missing but required: \{(word,)?x\}"):
            client.predict(model, {"factor": np.float32(1)})
        with pytest.raises(InvalidRequest, match=r"Expects arg|to be float but"):
            client.predict(model, {**inputs_for(model), "factor": np.int32(1)})
    with triton.InferenceServerClient(server.grpc) as kserve, pytest.raises(InferenceServerException):
        kserve.infer(model, [])


@pytest.mark.parametrize("model", [*ONNX, *TENSORFLOW])
def test_metadata_has_the_defaults(server: Server, model: str) -> None:
    answer = ask(server.http, "GET", f"/v1/models/{model}/metadata").json
    definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["defaults"]["factor"]["float_val"] == [2.0]
    found = ask(server.http, "GET", f"/v2/models/{model}").json
    assert {"name": "factor", "datatype": "FP32", "shape": []} in found["inputs"]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("dtype", ONNX_TYPES)
def test_defaults_of_every_type(dtype: str, raw: bool, tmp_path: Path) -> None:
    kind = NUMPY_TYPES[dtype]
    if dtype == "DT_STRING":
        values = np.array([["a", "é"]], object)
    elif kind.kind in "iu":
        values = np.array([[np.iinfo(kind).min, np.iinfo(kind).max]], kind)
    else:
        values = np.array([[0, 1]]).astype(kind)
    onnx_type = ONNX_TYPES[dtype]
    if raw and dtype not in ("DT_STRING", "DT_BFLOAT16"):
        default = numpy_helper.from_array(values, "x")
    else:
        flat = values.astype(np.float32) if dtype == "DT_BFLOAT16" else values
        default = helper.make_tensor("x", onnx_type, values.shape, flat.ravel())
    onnx_models.write_default(tmp_path / "1", default)
    engine = load_engine("onnxruntime", tmp_path / "1", EngineOptions())
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    spec = signature.inputs["x"]
    assert (spec.dtype, spec.shape) == (dtype, (1, 2))
    assert spec.default is not None
    given = np.array([[b"a", "é".encode()]], object) if dtype == "DT_STRING" else values
    np.testing.assert_array_equal(spec.default, given)
    session = engine.make_session()
    left_out = engine.run(session, signature, {"x": spec.default}, ["y"])["y"]
    np.testing.assert_array_equal(left_out, given)
    other = np.array([[b"c", b"d"]], object) if dtype == "DT_STRING" else given[:, ::-1].copy()
    np.testing.assert_array_equal(engine.run(session, signature, {"x": other}, ["y"])["y"], other)


def test_weights_that_are_inputs_stay_constants(tmp_path: Path) -> None:
    large = numpy_helper.from_array(np.zeros(BYTES_MAX // 4 + 1, np.float32), "x")
    onnx_models.write_default(tmp_path / "large", large)
    assert optional_inputs(tmp_path / "large/model.onnx") == ({}, ["x"])
    engine = load_engine("onnxruntime", tmp_path / "large", EngineOptions())
    assert engine.signatures()[DEFAULT_SIGNATURE].inputs == {}
    assert [note for note in engine.notes if note.startswith("input x is not served: its default is over")]
    # Before version 4 of the format every initializer is an input, and means a constant.
    onnx_models.write_options(tmp_path / "old", ir_version=3)
    assert sorted(
        load_engine("onnxruntime", tmp_path / "old", EngineOptions()).signatures()[DEFAULT_SIGNATURE].inputs
    ) == ["x"]
    (tmp_path / "broken.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(LoadError, match="is not an ONNX model"):
        optional_inputs(tmp_path / "broken.onnx")
