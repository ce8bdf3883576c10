"""Errors that quote clients' words: cut where they leave the server, so that they arrive with their own code."""

import json
import random
import urllib.parse
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from corelane.processor.errors import EngineFailed, InvalidRequest
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import MESSAGE_COST_MAX, message_of
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
INFER = "/inference.GRPCInferenceService/ModelInfer"
READY = "/inference.GRPCInferenceService/ModelMetadata"
LIMIT = 8 * 1024
INPUTS = [f"feature_{number:03}_{'x' * 60}" for number in range(250)]
TEXTS = {"ascii": "m" * 100_000, "accents": "ü" * 50_000, "han": "推" * 30_000, "emoji": "\U0001f600" * 20_000}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_sum(folder / "sum/1", INPUTS)
    with serving(folder, "models: [{name: sum, path: sum}]", listen=WITH_REST) as running:
        yield running


def send(server: Server, method: str, message: Any) -> tuple[str, str]:
    """The code and details of a call, by a client with gRPC's own limit of metadata."""
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            channel.unary_unary(method)(message.SerializeToString(), timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def predict(model: str = "sum", **spec: Any) -> Any:
    message = messages.PredictRequest()
    message.model_spec.name = model
    for key, value in spec.items():
        setattr(message.model_spec, key, value)
    return message


@pytest.mark.parametrize("seed", range(10))
def test_any_text_fits(seed: int) -> None:
    source = random.Random(seed)
    alphabet = [chr(source.choice([source.randrange(0x20), source.randrange(0x80), 0x25, 0x22, 0xFC, 0x63A8, 0x1F600]))]
    alphabet += ["a", " ", "\\", "\n", chr(0x7F), "\ud800"]
    for length in (0, 1, 100, 600, 1790, 7000, 7168, 7169, 20_000):
        text = "".join(source.choice(alphabet) for _ in range(length))
        found = message_of(InvalidRequest(text))
        assert len(urllib.parse.quote(found, safe=" !#$&'()*+,/:;=?@[]\"<>\\^`{|}~").encode()) <= MESSAGE_COST_MAX
        assert len(json.dumps(found, ensure_ascii=False).encode()) <= LIMIT
        whole = text.encode(errors="replace").decode()
        if found != whole:
            head, _, rest = found.partition(" ... (")
            count, _, tail = rest.partition(" characters cut) ... ")
            assert whole.startswith(head)
            assert whole.endswith(tail)
            assert len(head) + int(count) + len(tail) == length
            assert len(head) > len(tail) > 0


def test_a_text_that_fits_is_left_alone() -> None:
    for text in ("", "a" * MESSAGE_COST_MAX, "ü" * (MESSAGE_COST_MAX // 6)):
        assert message_of(InvalidRequest(text)) == text
    assert message_of(ValueError("x")) == "internal error: ValueError: x"
    assert message_of(EngineFailed("x")) == "x"


def test_many_inputs_are_missing(server: Server) -> None:
    message = predict()
    code, details = send(server, PREDICT, message)
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("input size does not match signature: 0!=250 len({}) != len({feature_000_")
    assert details.endswith(f"{INPUTS[-1]}}}.")
    assert "characters cut" in details
    tensors.encode(np.float32([1]), message.inputs["ü" * 40_000])
    assert send(server, PREDICT, message)[0] == "INVALID_ARGUMENT"
    assert send(server, INFER, messages.ModelInferRequest(model_name="sum"))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", TEXTS)
def test_long_words_by_grpc(server: Server, name: str) -> None:
    text = TEXTS[name]
    filtered, wrong = predict(), messages.ModelInferRequest(model_name="sum")
    filtered.output_filter.append(text)
    wrong.inputs.add(name=text, datatype=text)
    field = messages.GetModelMetadataRequest(metadata_field=[text])
    field.model_spec.name = "sum"
    label = messages.GetModelStatusRequest()
    label.model_spec.name, label.model_spec.version_label = "sum", text
    for method, message, code in (
        (PREDICT, predict(text), "NOT_FOUND"),
        (PREDICT, predict(version_label=text), "INVALID_ARGUMENT"),
        (PREDICT, predict(signature_name=text), "FAILED_PRECONDITION"),
        (PREDICT, filtered, "INVALID_ARGUMENT"),
        (METADATA, field, "INVALID_ARGUMENT"),
        (STATUS, label, "INVALID_ARGUMENT"),
        (INFER, messages.ModelInferRequest(model_name=text), "NOT_FOUND"),
        (INFER, messages.ModelInferRequest(model_name="sum", model_version=text), "INVALID_ARGUMENT"),
        (INFER, wrong, "INVALID_ARGUMENT"),
        (READY, messages.ModelMetadataRequest(name=text), "NOT_FOUND"),
    ):
        found, details = send(server, method, message)
        assert (found, "characters cut" in details) == (code, True), details[:200]


@pytest.mark.parametrize("name", TEXTS)
def test_long_words_by_rest(server: Server, name: str) -> None:
    text, path = TEXTS[name], urllib.parse.quote(TEXTS[name][:3000])
    for method, where, body, status in (
        ("POST", "/v1/models/sum:predict", {"inputs": {}, "signature_name": text}, 400),
        ("POST", "/v1/models/sum:predict", {"inputs": {text: 1}}, 400),
        ("POST", "/v1/models/sum:predict", {text: 1}, 400),
        ("POST", "/v1/models/sum:predict", {"instances": [{text: 1}]}, 400),
        ("POST", "/v2/models/sum/infer", {"inputs": [{"name": text, "datatype": text, "shape": []}]}, 400),
        ("POST", "/v2/models/sum/infer", {"inputs": [], "parameters": {text: 1}}, 400),
        ("GET", f"/v1/models/{path}", None, 404),
        ("GET", f"/v1/models/sum/versions/{path}", None, 400),
        ("GET", f"/v2/models/{path}", None, 404),
        ("GET", f"/{path}", None, 404),
    ):
        answer = ask(server.http, method, where, body)
        assert (answer.status, len(answer.body) <= LIMIT) == (status, True), answer.body[:200]
        assert answer.json["error"]
