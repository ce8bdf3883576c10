"""KServe's REST API as Triton's own client sees it, and as a request by hand does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from corelane.processor.wire.kserve_tensors import DATATYPES
from corelane.processor.wire.tensor_types import SHORT_NAMES
from tests.support import onnx_models
from tests.support.http import Answer, ask
from tests.support.server import WITH_REST, Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    entries = [f"{{name: {name}, path: {tensorflow_models / name}}}" for name in ("tf2", "types")]
    entries.append("{name: scale, path: scale, versions: [{version: 1}, {version: 2, label: canary}]}")
    with serving(folder, f"models: [{', '.join(entries)}]", listen=WITH_REST) as running:
        for version in (1, 2):
            running.wait_state("scale", version, "AVAILABLE")
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.http) as found:
        yield found


def infer(server: Server, body: Any, model: str = "scale", **headers: str) -> Answer:
    return ask(server.http, "POST", f"/v2/models/{model}/infer", body, headers)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_infer(client: triton.InferenceServerClient, binary_in: bool, binary_out: bool, packed: str | None) -> None:
    word = triton.InferInput("word", [3], "BYTES")
    word.set_data_from_numpy(np.array([b"a", b"b", b"?"], object), binary_data=binary_in)
    x = triton.InferInput("x", [3, 2], "FP32")
    x.set_data_from_numpy(np.array([[1, 1], [2, 0], [0, 0]], np.float32), binary_data=binary_in)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("upper", "score")]
    found = client.infer(
        "tf2",
        [word, x],
        outputs=outputs,
        request_id="r1",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    response = found.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("tf2", "1", "r1")
    np.testing.assert_array_equal(found.as_numpy("score"), np.array([7, 8, -1], np.float32))
    # Of JSON the client makes str, of binary data bytes.
    assert [bytes(item) if binary_out else item.encode() for item in found.as_numpy("upper")] == [b"A", b"B", b"?"]


def test_infer_without_choosing_outputs(client: triton.InferenceServerClient) -> None:
    x = triton.InferInput("x", [2], "FP32")
    x.set_data_from_numpy(np.array([1, 3], np.float32))
    for wanted, factor in (("1", 1), ("2", 2), ("canary", 2), ("", 2)):
        found = client.infer("scale", [x], model_version=wanted)
        np.testing.assert_array_equal(found.as_numpy("y"), np.array([1, 3], np.float32) * factor)


def test_every_type_in_json(server: Server) -> None:
    values = {"BOOL": True, "BYTES": "grün", "FP16": 0.5, "BF16": -2.0, "FP32": 0.1, "FP64": 0.1}
    inputs = [
        {"name": SHORT_NAMES[dtype], "datatype": datatype, "shape": [1, 2], "data": [[values.get(datatype, 7)] * 2]}
        for dtype, datatype in DATATYPES.items()
    ]
    found = infer(server, {"inputs": inputs, "parameters": {"signature_name": "plain"}}, "types").json
    outputs = {output["name"]: output for output in found["outputs"]}
    for tensor in inputs:
        output = outputs[f"{tensor['name']}_out"]
        assert (output["datatype"], output["shape"], output["data"]) == (
            tensor["datatype"],
            tensor["shape"],
            tensor["data"][0],
        )


def test_whole_numbers_in_json_are_exact(server: Server) -> None:
    values = {"INT64": [-(2**63), 2**53 + 1], "UINT64": [2**64 - 1, 1], "FP64": [0.1, 2**53], "BYTES": ["a", "b"]}
    inputs = [
        {
            "name": SHORT_NAMES[dtype],
            "datatype": datatype,
            "shape": [2],
            "data": values.get(datatype, [datatype == "BOOL" or 1] * 2),
        }
        for dtype, datatype in DATATYPES.items()
    ]
    found = infer(server, {"inputs": inputs, "parameters": {"signature_name": "plain"}}, "types").json
    outputs = {output["datatype"]: output["data"] for output in found["outputs"]}
    assert {datatype: outputs[datatype] for datatype in values} == values


def test_json_and_binary_in_one_response(server: Server) -> None:
    body = {
        "inputs": [
            {"name": "word", "datatype": "BYTES", "shape": [1], "data": ["a"]},
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]},
        ],
        "outputs": [{"name": "upper"}, {"name": "score", "parameters": {"binary_data": True}}],
    }
    found = infer(server, body, "tf2")
    length = int(found.headers["inference-header-content-length"])
    outputs = {output["name"]: output for output in json.loads(found.body[:length])["outputs"]}
    assert outputs["upper"]["data"] == ["A"]
    assert outputs["score"]["parameters"] == {"binary_data_size": 4}
    assert np.frombuffer(found.body[length:], np.float32).tolist() == [7.0]
    assert found.headers["content-type"] == "application/octet-stream"


def tensor(**changes: Any) -> dict[str, Any]:
    found = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0], **changes}
    return {"inputs": [{key: value for key, value in found.items() if value is not None}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        ({}, "'inputs' should be a list of objects, not null"),
        ({"inputs": [1]}, "'inputs' should be a list of objects"),
        (tensor(name=1), "'name' should be text, not 1"),
        (tensor(datatype="FP31"), "input 'x' has datatype 'FP31'; known: BF16"),
        (tensor(datatype="INT32", data=[1]), "to be float but int32 is provided"),
        (tensor(shape=[2]), "input 'x' has 1 elements; shape [2] takes 2"),
        (tensor(shape=["1"]), "'shape' should be a list of whole numbers"),
        (tensor(shape=[-1, -1]), "input 'x' has 1 elements; shape [-1, -1] takes 1"),
        (tensor(data=None), "input 'x' has neither data nor a binary_data_size"),
        (tensor(data=["a"]), "input 'x': JSON Value: \"a\" Type: String is not of expected type: float"),
        (tensor(parameters={"binary_data_size": 4}), "has a binary_data_size of 4; the body has 0 more bytes"),
        (tensor(parameters={"binary_data_size": -4}), "has a binary_data_size of -4"),
        (tensor(parameters={"shared_memory_region": "a"}), "'shared_memory_region' of input 'x' is not offered"),
        (tensor(parameters={"shared_memory_offset": 8}), "reads and writes no shared memory"),
        (
            tensor(parameters={"content_type": "base64"}),
            "'content_type' of input 'x' is offered as np, pd and str only",
        ),
        ({**tensor(), "outputs": [{"name": "y", "parameters": {"classification": 1}}]}, "ask for the whole output"),
        ({**tensor(), "outputs": [{"name": "y", "parameters": {"shared_memory_region": "a"}}]}, "of output 'y' is not"),
        ({**tensor(), "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "should be true or false"),
        ({**tensor(), "outputs": [{"name": "y", "parameters": {"binary_data_size": 1}}]}, "is not known"),
        ({**tensor(), "parameters": {"sequence_id": 5}}, "keeps no state between requests"),
        ({**tensor(), "parameters": {"sequence_start": True}}, "keeps no state between requests"),
        ({**tensor(), "parameters": {"binary_data_output": "yes"}}, "should be true or false"),
        ({**tensor(), "parameters": {"temperature": 1}}, "parameter 'temperature' of the request is not known; known:"),
        ({**tensor(), "parameters": {"priority": [1]}}, "should be text, a number or a boolean"),
        (tensor(parameters=1), "'parameters' should be an object"),
        ({**tensor(), "outputs": [{"name": "z"}]}, "output tensor alias not found in signature: z"),
        ({**tensor(), "parameters": {"signature_name": 1}}, "parameter 'signature_name' of the request should be text"),
        ({**tensor(), "parameters": {"signature_name": "s"}}, 'Serving signature key "s" not found'),
    ],
)
def test_requests_that_do_not_fit(server: Server, body: Any, message: str) -> None:
    found = infer(server, body)
    assert (found.status, message in found.json["error"]) == (400, True), found.json


def test_parameters_that_change_no_answer(client: triton.InferenceServerClient) -> None:
    x = triton.InferInput("x", [1], "FP32")
    x.set_data_from_numpy(np.float32([1]))
    found = client.infer("scale", [x], model_version="2", priority=1, timeout=1000, sequence_id=0)
    np.testing.assert_array_equal(found.as_numpy("y"), np.float32([2]))
    for outputs, words in (
        ([triton.InferRequestedOutput("y", class_count=2)], "'classification' of output 'y' is not offered"),
        (None, "'sequence_id' of the request is not offered"),
    ):
        with pytest.raises(InferenceServerException, match=words):
            client.infer("scale", [x], outputs=outputs, sequence_id=0 if outputs else 5)


def test_binary_data_that_does_not_fit(server: Server) -> None:
    text = json.dumps(tensor(data=None, parameters={"binary_data_size": 4})).encode()

    def send(data: bytes, length: int | None = None) -> Answer:
        header = {"Inference-Header-Content-Length": str(len(text) if length is None else length)}
        return infer(server, text + data, **header)

    assert send(b"\0\0\x80\x3f").json["outputs"][0]["data"] == [2.0]
    assert "the body has 4 bytes behind its last tensor" in send(b"\0" * 8).json["error"]
    assert "the body has 3 more bytes" in send(b"\0" * 3).json["error"]
    assert "Inference-Header-Content-Length is 9999" in send(b"", 9999).json["error"]
    assert "Inference-Header-Content-Length is -1" in send(b"", -1).json["error"]
    digits = {"Inference-Header-Content-Length": "9" * 5000}  # more than Python reads as a number
    assert infer(server, text, **digits).status == 400


def test_output_that_is_no_text_has_to_be_binary(server: Server) -> None:
    one = {"name": "word", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
    text = json.dumps({"inputs": [one, x]}).encode()
    found = infer(server, text + b"\1\0\0\0\xff", "tf2", **{"Inference-Header-Content-Length": str(len(text))})
    assert "output 'upper' is not text; ask for it with binary_data" in found.json["error"]


def test_health_metadata_and_repository(server: Server, client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("scale", "2")
    assert not client.is_model_ready("scale", "7")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "corelane"
    assert client.get_model_metadata("tf2")["inputs"] == [
        {"name": "word", "datatype": "BYTES", "shape": [-1]},
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
    ]
    with pytest.raises(InferenceServerException, match="Servable not found"):
        client.get_model_metadata("nothing")
    client.unload_model("types")
    assert not client.is_model_ready("types")
    client.load_model("types")
    assert client.is_model_ready("types")
    assert {"name": "types", "version": "1", "state": "READY"} in client.get_model_repository_index()
    with pytest.raises(InferenceServerException, match="model 'nothing' is not in the manifest"):
        client.load_model("nothing")
