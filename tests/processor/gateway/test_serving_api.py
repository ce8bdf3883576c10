"""The TensorFlow-Serving API as its own client sees it, on models of every engine."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from corelane.processor.wire import messages
from tests.conftest import ServingApi, strings
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import Server, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2, 3):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    entries = [f"{{name: {name}, path: {tensorflow_models / name}}}" for name in ("tf2", "tf1", "types")]
    entries.append(
        "{name: scale, path: scale, versions: [{version: 1, label: stable, traffic: 75}, "
        "{version: 2, role: ab, label: canary, traffic: 25}]}"
    )
    with serving(folder, f"models: [{', '.join(entries)}]") as running:
        running.wait_state("scale", 2, "AVAILABLE")
        yield running


def example(**features: Any) -> dict[str, Any]:
    kinds = {
        name: {"bytes_list": {"value": [base64.b64encode(value.encode()).decode()]}}
        if isinstance(value, str)
        else {"float_list": {"value": [value]}}
        for name, value in features.items()
    }
    return {"features": {"feature": kinds}}


def test_predict_on_tf2_with_strings_a_table_and_a_variable(server: Server, serving_api: ServingApi) -> None:
    inputs = {"word": ["string", ["a", "b", "?"]], "x": ["float32", [[1, 1], [2, 0], [0, 0]]]}
    answer = serving_api.call(server.grpc, "Predict", {"model_spec": {"name": "tf2"}}, inputs)["ok"]
    assert (answer["model"], answer["version"], answer["signature"]) == ("tf2", 1, "serving_default")
    assert answer["outputs"]["score"] == [7.0, 8.0, -1.0]
    assert strings(answer["outputs"]["upper"]) == [b"A", b"B", b"?"]
    assert not answer["content"], "outputs come as *_val"


def test_predict_with_another_signature_a_scalar_and_a_filter(server: Server, serving_api: ServingApi) -> None:
    spec = {"name": "tf2", "signature_name": "scalar"}
    answer = serving_api.call(server.grpc, "Predict", {"model_spec": spec}, {"x": ["float32", 2.0]})["ok"]
    assert (answer["signature"], answer["outputs"]) == ("scalar", {"y": 6.0})
    inputs = {"word": ["string", ["a"]], "x": ["float32", [[0, 0]]]}
    request = {"model_spec": {"name": "tf2"}, "output_filter": ["score"]}
    assert serving_api.call(server.grpc, "Predict", request, inputs)["ok"]["outputs"] == {"score": [1.0]}


def test_predict_on_tf1(server: Server, serving_api: ServingApi) -> None:
    answer = serving_api.call(server.grpc, "Predict", {"model_spec": {"name": "tf1"}}, {"x": ["float32", [1, 2]]})
    assert answer["ok"]["outputs"] == {"y": [2.0, 4.0]}


def test_zero_rows(server: Server) -> None:
    with Client(server.grpc) as client:
        inputs = {"word": np.empty(0, object), "x": np.empty((0, 2), np.float32)}
        outputs = client.predict("tf2", inputs)
        assert outputs["score"].shape == (0,)
        assert outputs["upper"].shape == (0,)
        assert client.predict("scale", {"x": np.empty(0, np.float32)})["y"].shape == (0,)


def test_every_type_goes_through_tensorflow_unchanged(server: Server) -> None:
    from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES

    inputs = {}
    for name, dtype in NUMPY_TYPES.items():
        if name == "DT_STRING":
            inputs["string"] = np.array([[b"a", b"\xff\x00b"], [b"", b"x" * 1000]], object)
        else:
            inputs[SHORT_NAMES[name]] = np.array([[0, 1], [2, 3]]).astype(dtype)
    with Client(server.grpc) as client:
        outputs = client.predict("types", inputs)
        assert len(outputs) == len(inputs) == 16
        for name, array in inputs.items():
            assert outputs[f"{name}_out"].dtype == array.dtype
            np.testing.assert_array_equal(outputs[f"{name}_out"], array)


def test_classify(server: Server, serving_api: ServingApi) -> None:
    request = {
        "model_spec": {"name": "tf1", "signature_name": "classify"},
        "input": {"example_list": {"examples": [example(x=1.0, word="a"), example(x=2.0)]}},
    }
    answer = serving_api.call(server.grpc, "Classify", request)["ok"]
    assert answer["model_spec"] == {"name": "tf1", "version": "1", "signature_name": "classify"}
    rows = [
        [(item["label"], item.get("score", 0.0)) for item in row["classes"]]
        for row in answer["result"]["classifications"]
    ]
    assert rows == [[("low", -3.0), ("high", 3.0)], [("low", -4.0), ("high", 4.0)]]


def test_regress_with_context(server: Server, serving_api: ServingApi) -> None:
    rows = {"examples": [example(x=1.0), example(x=2.0, word="b")], "context": example(word="a")}
    request = {
        "model_spec": {"name": "tf1", "signature_name": "regress"},
        "input": {"example_list_with_context": rows},
    }
    answer = serving_api.call(server.grpc, "Regress", request)["ok"]
    assert [item["value"] for item in answer["result"]["regressions"]] == [3.0, 6.0]


def test_multi_inference(server: Server, serving_api: ServingApi) -> None:
    tasks = [
        {
            "model_spec": {"name": "tf1", "signature_name": signature},
            "method_name": f"tensorflow/serving/{signature}",
        }
        for signature in ("regress", "classify")
    ]
    request = {"tasks": tasks, "input": {"example_list": {"examples": [example(x=1.0)]}}}
    results = serving_api.call(server.grpc, "MultiInference", request)["ok"]["results"]
    assert results[0]["regression_result"]["regressions"] == [{"value": 2.0}]
    assert [c["label"] for c in results[1]["classification_result"]["classifications"][0]["classes"]] == ["low", "high"]
    wrong = {**request, "tasks": [tasks[0], tasks[0]]}
    assert serving_api.call(server.grpc, "MultiInference", wrong) == {
        "code": "INVALID_ARGUMENT",
        "details": "Duplicate evaluation of signature: regress",
    }


def test_metadata(server: Server, serving_api: ServingApi) -> None:
    request = {"model_spec": {"name": "tf2"}, "metadata_field": ["signature_def"]}
    signatures = serving_api.call(server.grpc, "GetModelMetadata", request)["ok"]["signature_def"]
    assert set(signatures) == {"serving_default", "scalar"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert default["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1"}, {"size": "2"}]}
    assert default["outputs"]["upper"]["dtype"] == "DT_STRING"


def test_status(server: Server, serving_api: ServingApi) -> None:
    answer = serving_api.call(server.grpc, "GetModelStatus", {"model_spec": {"name": "scale"}})["ok"]
    assert answer["model_version_status"] == [
        {"version": "1", "state": "AVAILABLE", "status": {}},
        {"version": "2", "state": "AVAILABLE", "status": {}},
    ]
    one = {"model_spec": {"name": "scale", "version_label": "canary"}}
    answer = serving_api.call(server.grpc, "GetModelStatus", one)["ok"]
    assert [item["version"] for item in answer["model_version_status"]] == ["2"]


def test_labels_versions_and_the_traffic_split(server: Server) -> None:
    with Client(server.grpc) as client:
        assert client.predict_versioned("scale", {"x": [1.0]}, label="stable")[1] == 1
        assert client.predict_versioned("scale", {"x": [1.0]}, label="canary")[1] == 2
        assert client.predict_versioned("scale", {"x": [1.0]}, version=1)[1] == 1
        counts = np.bincount([client.predict_versioned("scale", {"x": [1.0]})[1] for _ in range(400)])
    # 400 draws of one in four: 100, give or take four standard deviations.
    assert 65 <= counts[2] <= 135


def test_health(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tf2", "scale"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nonesuch"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        file = database.FindFileContainingSymbol("tensorflow.serving.PredictRequest")
        assert "PredictRequest" in {message.name for message in file.message_type}


def test_our_messages_are_those_of_the_api(serving_api: ServingApi) -> None:
    theirs = serving_api.ask("descriptors")["ok"]
    compared = 0
    for name, fields in theirs.items():
        try:
            ours = messages.POOL.FindMessageTypeByName(name)
        except KeyError:
            continue
        compared += 1
        for field in ours.fields:
            found = fields[field.name]
            # Enums that we do not read are plain numbers to us; they are the same on the wire.
            kind = field.TYPE_INT32 if found[1] == field.TYPE_ENUM and field.type == field.TYPE_INT32 else found[1]
            assert [field.number, field.type, field.is_repeated] == [found[0], kind, found[2]], (name, field.name)
    assert compared >= 45


def test_reload_config(tmp_path: Path, serving_api: ServingApi) -> None:
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"scale/{version}", version)
    onnx_models.write_scale(tmp_path / "other/5", 5)

    def reload(server: Server, *configs: dict[str, Any]) -> dict[str, Any]:
        request = {"config": {"model_config_list": {"config": list(configs)}}}
        return serving_api.call(server.grpc, "HandleReloadConfigRequest", request)

    scale = {"name": "scale", "base_path": str(tmp_path / "scale")}
    both = {**scale, "model_version_policy": {"specific": {"versions": [1, 2]}}}
    with serving(tmp_path, "models: [{name: scale, path: scale, queue: {capacity: 7}}]") as server:
        labelled = {**both, "version_labels": {"old": "1"}}
        assert reload(server, labelled) == {
            "code": "FAILED_PRECONDITION",
            "details": "Request to assign label to version 1 of model scale, "
            "which is not currently available for inference",
        }
        other = {"name": "other", "base_path": str(tmp_path / "other")}
        assert reload(server, both, other) == {"ok": {"status": {}}}
        with Client(server.grpc) as client:
            assert client.predict_versioned("other", {"x": [1.0]})[1] == 5
        server.wait_state("scale", 1, "AVAILABLE")
        assert reload(server, labelled, other) == {"ok": {"status": {}}}
        with Client(server.grpc) as client:
            wait_until(lambda: dict(client.status("scale")) == {1: "AVAILABLE", 2: "AVAILABLE"}, "both versions")
            assert client.predict_versioned("scale", {"x": [1.0]}, label="old")[1] == 1
        twice = reload(server, other, other)
        assert twice["code"] == "INVALID_ARGUMENT"
        assert "multiple times" in twice["details"]
        remote = reload(server, both, {"name": "remote", "base_path": "s3://bucket/models"})
        assert remote["code"] == "INVALID_ARGUMENT"
        assert remote["details"].startswith("model remote: s3://bucket/models is not on this host")
        broken = reload(server, both, other, {"name": "none", "base_path": str(tmp_path / "none")})
        assert broken == {
            "code": "UNKNOWN",
            "details": f"no version is available of none ({tmp_path / 'none'} does not exist)",
        }
        assert reload(server, other) == {"ok": {"status": {}}}
        wait_until(lambda: [m["name"] for m in server.status()["models"]] == ["other"], "only other")
