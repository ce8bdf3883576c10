"""What a model has and the server cannot serve: the reason reaches whoever asks for it, by every protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from corelane.commands.status import render
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import FailedPrecondition, LoadError
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving

RAGGED = "tags is a ragged tensor; export it dense (RaggedTensor.to_tensor)"
SPARSE = "tags is a sparse tensor; export it dense (tf.sparse.to_dense)"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, signature_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_classifier(folder / "zipmap/1", zipmap=True)
    onnx_models.write_classifier(folder / "plain/1", zipmap=False)
    onnx_models.write_classifier(folder / "plain/001", zipmap=True)
    entries = [f"{{name: {name}, path: {name}}}" for name in ("zipmap", "plain")]
    entries += [
        f"{{name: {name}, path: {signature_models / path}, engine: {engine}, precision: fp32}}"
        for name, path, engine in (
            ("graph", "mixed", "tensorflow"),
            ("plan", "mixed", "fused"),
            ("default", "default", "tensorflow"),
        )
    ]
    with serving(folder, f"models: [{', '.join(entries)}]", listen=WITH_REST) as running:
        for name in ("zipmap", "plain", "graph", "plan", "default"):
            running.wait_state(name, 1, "AVAILABLE")
        yield running


@pytest.mark.parametrize(
    ("model", "signature", "reason"),
    [
        ("graph", "ragged", RAGGED),
        ("graph", "sparse", SPARSE),
        ("plan", "ragged", RAGGED),
        ("plan", "sparse", SPARSE),
        ("default", "", RAGGED),
        ("default", "serving_default", RAGGED),
    ],
)
def test_a_signature_that_is_not_served_says_why(server: Server, model: str, signature: str, reason: str) -> None:
    words = f'Serving signature key "{signature or "serving_default"}" cannot be served: {reason}'
    with Client(server.grpc) as client, pytest.raises(FailedPrecondition) as raised:
        client.predict(model, {"x": np.float32([1])}, signature=signature)
    assert str(raised.value) == words
    request = messages.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(CLASSIFY)(request.SerializeToString(), timeout=20)
    assert (failed.value.code().name, failed.value.details()) == ("FAILED_PRECONDITION", words)
    x = triton.InferInput("x", [1], "FP32")
    x.set_data_from_numpy(np.float32([1]))
    parameters = {"signature_name": signature} if signature else None
    with triton.InferenceServerClient(server.grpc) as kserve, pytest.raises(InferenceServerException) as refused:
        kserve.infer(model, [x], parameters=parameters)
    assert refused.value.message() == words
    named: dict[str, Any] = {"signature_name": signature} if signature else {}
    for path, body in (
        (f"/v1/models/{model}:predict", {"instances": [1], **named}),
        (f"/v1/models/{model}:predict", {"inputs": {"no": "such"}, **named}),
        (f"/v1/models/{model}:classify", {"examples": [{}], **named}),
        (f"/v1/models/{model}:regress", {"examples": [{}], **named}),
        (
            f"/v2/models/{model}/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], "parameters": named},
        ),
    ):
        answer = ask(server.http, "POST", path, body)
        assert (answer.status, answer.json) == (400, {"error": words}), path


@pytest.mark.parametrize("model", ["graph", "plan"])
def test_a_signature_that_does_not_exist_is_not_found(server: Server, model: str) -> None:
    with Client(server.grpc) as client, pytest.raises(FailedPrecondition, match='key "nothing" not found'):
        client.predict(model, {"x": np.float32([1])}, signature="nothing")


def test_metadata_says_why(server: Server) -> None:
    for model in ("graph", "plan"):
        metadata = ask(server.http, "GET", f"/v1/models/{model}/metadata").json["metadata"]
        assert metadata["unserved_signatures"] == {"ragged": RAGGED, "sparse": SPARSE}
        assert sorted(metadata["signature_def"]["signature_def"]) == ["embedded", "serving_default"]
    for answer in (
        ask(server.http, "GET", "/v2/models/default"),
        ask(server.http, "GET", "/v2/models/default/versions/1"),
    ):
        assert (answer.status, RAGGED in answer.json["error"]) == (400, True)
    with triton.InferenceServerClient(server.grpc) as kserve:
        with pytest.raises(InferenceServerException, match="is a ragged tensor") as refused:
            kserve.get_model_metadata("default")
        assert refused.value.status() == "StatusCode.FAILED_PRECONDITION"
        assert [one.name for one in kserve.get_model_metadata("graph").outputs] == ["y"]
    assert "unserved_signatures" not in ask(server.http, "GET", "/v1/models/plain/metadata").json["metadata"]


def test_status_and_the_log_name_what_is_not_served(server: Server) -> None:
    zipmap = (
        "output probabilities is not served: it is seq(map(int64,tensor(float))), which no tensor can carry; for a "
        "classifier of skl2onnx, export it with options={'zipmap': False}"
    )
    ragged = f"signature ragged is not served: {RAGGED}"
    assert server.version("zipmap", 1)["notes"] == [zipmap]
    assert server.version("plain", 1)["notes"] == []
    for model in ("graph", "plan"):
        assert server.version(model, 1)["notes"] == [ragged, f"signature sparse is not served: {SPARSE}"]
    text, log = render(server.status()), server.log.read_text()
    for model, note in (("zipmap/1", zipmap), ("graph/1", ragged), ("plan/1", ragged)):
        assert f"{model}: {note}" in text
        assert note in log
    with Client(server.grpc) as client:
        assert sorted(client.predict("zipmap", {"x": np.zeros((1, 2), np.float32)})) == ["label"]
        assert sorted(client.predict("plain", {"x": np.zeros((1, 2), np.float32)})) == ["label", "probabilities"]


def test_status_and_the_log_name_a_folder_whose_number_is_taken(server: Server) -> None:
    status = server.status()
    (duplicates,) = [model["duplicates"] for model in status["models"] if model["name"] == "plain"]
    (duplicate,) = duplicates
    assert duplicate.endswith("plain has version 1 twice: 1 is served, 001 is not; remove or rename one")
    assert f"plain: {duplicate}" in render(status)
    assert f"[plain] {duplicate}" in server.log.read_text()


def test_a_model_without_any_signature_says_why_of_each(tmp_path: Path, signature_models: Path) -> None:
    model = messages.SavedModel.FromString((signature_models / "mixed/1/saved_model.pb").read_bytes())
    graph = messages.MetaGraphDef.FromString(model.meta_graphs[0].SerializeToString())
    del graph.signature_def["serving_default"], graph.signature_def["embedded"]
    model.meta_graphs[0].MergeFromString(b"")
    model.meta_graphs[0].ParseFromString(graph.SerializeToString())
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    (folder / "variables").symlink_to(signature_models / "mixed/1/variables")
    with pytest.raises(LoadError, match=r"ragged: tags is a ragged tensor.*sparse: tags is a sparse tensor"):
        load_engine("tensorflow", folder, EngineOptions())
