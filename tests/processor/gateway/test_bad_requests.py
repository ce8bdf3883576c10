"""Requests that do not fit: the right code and message, from a worker that lives on. By the client that users have
where it can say such a thing, else by raw bytes."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from corelane.processor.wire import messages, tensors
from tests.conftest import ServingApi
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import Server, serving

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_scale(folder / "scale/1", 1)
    models = (
        "models: [{name: scale, path: scale}, "
        + ", ".join(f"{{name: {name}, path: {tensorflow_models / name}}}" for name in ("tf2", "tf1"))
        + "]"
    )
    with serving(folder, models) as running:
        pids = [running.version(name, 1)["pid"] for name in ("scale", "tf2", "tf1")]
        yield running
        assert [running.version(name, 1)["pid"] for name in ("scale", "tf2", "tf1")] == pids, "a worker died"


def send(server: Server, data: bytes, method: str = PREDICT, timeout_s: float = 20) -> tuple[str, str]:
    """The code and details of a call with these bytes as its request."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        try:
            channel.unary_unary(method)(data, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def request(model: str = "scale", **inputs: Any) -> Any:
    message = messages.PredictRequest()
    message.model_spec.name = model
    for name, array in inputs.items():
        tensors.encode(np.asarray(array), message.inputs[name])
    return message


X = np.float32([1, 2])
SPEC = {"name": "tf2"}
GOOD = {"word": ["string", ["a"]], "x": ["float32", [[1, 2]]]}


@pytest.mark.parametrize(
    ("method", "message", "inputs", "code", "details"),
    [
        ("Predict", {}, GOOD, "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("Predict", {"model_spec": {}}, GOOD, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("Predict", {"model_spec": {"name": "m"}}, GOOD, "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (
            "Predict",
            {"model_spec": {"name": "tf2", "version": 7}},
            GOOD,
            "NOT_FOUND",
            "Servable not found for request: Specific(tf2, 7)",
        ),
        (
            "Predict",
            {"model_spec": {"name": "tf2", "version_label": "L"}},
            GOOD,
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: L",
        ),
        (
            "Predict",
            {"model_spec": {"name": "tf2", "signature_name": "s"}},
            GOOD,
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
        ),
        (
            "Classify",
            {
                "model_spec": {"name": "tf1", "signature_name": "s"},
                "input": {"example_list": {"examples": [{}]}},
            },
            {},
            "INVALID_ARGUMENT",
            "No signature was found with the name: s",
        ),
        (
            "Regress",
            {"model_spec": {"name": "tf1", "signature_name": "classify"}},
            {},
            "INVALID_ARGUMENT",
            "Expected one output Tensor.",
        ),
        (
            "Regress",
            {"model_spec": {"name": "tf1", "signature_name": "regress"}},
            {},
            "INVALID_ARGUMENT",
            "Input is empty.",
        ),
        (
            "Predict",
            {"model_spec": SPEC},
            {"word": ["string", ["a"]]},
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({word}) != len({word,x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            "Predict",
            {"model_spec": SPEC},
            {**GOOD, "z": ["float32", [1]]},
            "INVALID_ARGUMENT",
            "input size does not match signature: 3!=2 len({word,x,z}) != len({word,x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            "Predict",
            {"model_spec": SPEC},
            {"word": ["string", ["a"]], "z": ["float32", [[1, 2]]]},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {word,z}, or default input alias set: ",
        ),
        (
            "Predict",
            {"model_spec": SPEC},
            {**GOOD, "x": ["int32", [[1, 2]]]},
            "INVALID_ARGUMENT",
            'Expects arg[1] to be float but int32 is provided (input "x")',
        ),
        (
            "Predict",
            {"model_spec": SPEC},
            {**GOOD, "x": ["float32", [1, 2]]},
            "INVALID_ARGUMENT",
            "Invalid reduction dimension (1 for input with 1 dimension(s)",
        ),
        (
            "Predict",
            {"model_spec": SPEC, "output_filter": ["nonesuch"]},
            GOOD,
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nonesuch Outputs expected to be in the set {score,upper}.",
        ),
        (
            "Predict",
            {"model_spec": SPEC, "output_filter": ["score", "score"]},
            GOOD,
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: score",
        ),
        (
            "GetModelMetadata",
            {"model_spec": SPEC},
            {},
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            "GetModelMetadata",
            {"model_spec": SPEC, "metadata_field": ["x"]},
            {},
            "INVALID_ARGUMENT",
            "Metadata field x is not supported",
        ),
        (
            "GetModelStatus",
            {"model_spec": {"name": "m"}},
            {},
            "NOT_FOUND",
            "Could not find any versions of model m",
        ),
        (
            "GetModelStatus",
            {"model_spec": {"name": "tf2", "version": 7}},
            {},
            "NOT_FOUND",
            "Could not find version 7 of model tf2",
        ),
        (
            "HandleReloadConfigRequest",
            {},
            {},
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        ),
    ],
)
def test_codes_and_messages(
    server: Server, serving_api: ServingApi, method: str, message: Any, inputs: Any, code: str, details: str
) -> None:
    assert serving_api.call(server.grpc, method, message, inputs) == {"code": code, "details": details}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x.tensor_shape.dim.add(size=-1), "shape [2, -1] has a negative dimension"),
        (lambda x: x.tensor_shape.dim.add(size=1 << 40), "needs more than the limit of"),
        (lambda x: [x.tensor_shape.dim.add(size=1 << 62) for _ in range(9)], "needs more than the limit of"),
        (lambda x: [x.tensor_shape.dim.add(size=1) for _ in range(300)], "rank 301 is over 254"),
        (lambda x: setattr(x.tensor_shape, "unknown_rank", True), "its shape has unknown rank"),
        (lambda x: setattr(x, "tensor_content", b"12345"), "tensor_content has 5 bytes, shape [2] needs 8"),
        (lambda x: x.float_val.append(3), "3 values for shape [2], which takes 2"),
    ],
)
def test_tensors_that_are_none(server: Server, change: Any, reason: str) -> None:
    message = request(x=X)
    change(message.inputs["x"])
    code, details = send(server, message.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("tensor parsing error: x (")
    assert reason in details


@pytest.mark.parametrize("number", [0, 20, 21, 31, 77])
def test_types_that_cannot_be_served(server: Server, number: int) -> None:
    message = request(x=X)
    message.inputs["x"].dtype = number
    code, details = send(server, message.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("tensor parsing error: x (element type DT_")


def test_many_tensors_cannot_take_more_memory_than_one(server: Server) -> None:
    message = messages.PredictRequest()
    message.model_spec.name = "tf2"
    for name in ("word", "x"):
        tensors.encode(np.zeros(1, np.float32), message.inputs[name])
    message.inputs["word"].Clear()
    message.inputs["word"].dtype = tensors.type_number("DT_STRING")
    message.inputs["word"].tensor_shape.dim.add(size=1 << 24)
    message.inputs["x"].tensor_shape.Clear()
    message.inputs["x"].tensor_shape.dim.add(size=1 << 25)
    message.inputs["x"].tensor_shape.dim.add(size=2)
    worker = psutil.Process(server.version("tf2", 1)["pid"])
    before = worker.memory_info().rss
    code, details = send(server, message.SerializeToString())
    assert (code, "needs more than the limit" in details) == ("INVALID_ARGUMENT", True)
    assert worker.memory_info().rss < before + (4 * 64 + 44) * 2**20


def test_random_bytes(server: Server) -> None:
    source = random.Random(1)
    good = request(x=X).SerializeToString()
    codes = set()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(source.randint(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        for candidate in (bytes(data), source.randbytes(source.randint(1, 200)), good[: source.randrange(len(good))]):
            codes.add(send(server, candidate)[0])
    assert codes <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}
    with Client(server.grpc) as client:
        assert client.predict("scale", {"x": X})["y"].tolist() == [1, 2]


def test_a_request_over_the_limit(server: Server) -> None:
    message = request(x=np.zeros(25 << 20, np.float32))
    code, details = send(server, message.SerializeToString())
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in details


def test_an_answer_over_the_limit(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 1)
    listen = 'listen: {grpc: "127.0.0.1:0", http: none, admin: "127.0.0.1:0", message_bytes_max: 4096}\n'
    with serving(tmp_path, "models: [{name: scale, path: scale}]", listen=listen) as small:
        message = messages.PredictRequest()
        message.model_spec.name = "scale"
        message.inputs["x"].dtype = tensors.type_number("DT_FLOAT")
        message.inputs["x"].tensor_shape.dim.add(size=3000)
        assert send(small, message.SerializeToString()) == (
            "INVALID_ARGUMENT",
            "the response of 12051 bytes is over listen.message_bytes_max (4096)",
        )


def test_a_method_that_does_not_exist(server: Server) -> None:
    assert send(server, b"", "/tensorflow.serving.PredictionService/Train")[0] == "UNIMPLEMENTED"


def test_values_that_the_graph_refuses(server: Server, serving_api: ServingApi) -> None:
    message = {
        "model_spec": {"name": "tf1", "signature_name": "regress"},
        "input": {"example_list": {"examples": [{"features": {"feature": {}}}]}},
    }
    answer = serving_api.call(server.grpc, "Regress", message)
    assert answer["code"] == "INVALID_ARGUMENT"
    assert "Feature: x (data type: float) is required but could not be found" in answer["details"]
