"""When clients may connect, and what they hear while a model is on its way, has failed, or is not there at all."""

import socket
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from corelane.processor.errors import ModelNotFound, Unavailable
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, serving_flags, wait_until

PARTIAL = "rest.onnx.part"  # as long as it is there, a version is not complete
X = {"x": np.float32([1.5])}


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def write_partial(folder: Path) -> Path:
    onnx_models.write_scale(folder, 2)
    (folder / PARTIAL).write_bytes(b"")
    return folder / PARTIAL


def state_of(server: Server, model: str) -> Any:
    (entry,) = [entry for entry in server.status()["models"] if entry["name"] == model]
    return [version["state"] for version in entry["versions"]]


def test_ports_open_when_the_model_is_there(tmp_path: Path) -> None:
    """The first call that gets through is answered."""
    partial = write_partial(tmp_path / "m/1")
    with serving_flags(tmp_path, "--model_name=m", f"--model_base_path={tmp_path}/m") as server:
        wait_until(lambda: state_of(server, "m") == ["WAITING"], "the look at the folder")
        assert not is_open(server.grpc) and not is_open(server.http)
        assert server.status()["ready"] is False
        partial.unlink()
        wait_until(lambda: is_open(server.grpc), "the port")
        assert state_of(server, "m") == ["AVAILABLE"]
        with Client(server.grpc) as client:
            np.testing.assert_array_equal(client.predict("m", X)["y"], np.float32([3]))
        wait_until(lambda: is_open(server.http), "the REST port")
        assert ask(server.http, "POST", "/v1/models/m:predict", {"instances": [1.5]}).json == {"predictions": [3.0]}
        assert "the ports open when the models are loaded" in server.log.read_text()


def test_what_failed_and_what_is_not_there_hold_up_nobody(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "good/1", 2)
    (tmp_path / "bad/1").mkdir(parents=True)
    (tmp_path / "bad/1/model.onnx").write_bytes(b"no model")
    (tmp_path / "empty").mkdir()
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path}/{name}" }}' for name in ("bad", "empty", "good", "nowhere")
    )
    (tmp_path / "models.config").write_text(f"model_config_list {{ {entries} }}")
    with serving_flags(tmp_path, f"--model_config_file={tmp_path}/models.config") as server:
        wait_until(lambda: is_open(server.grpc), "the port")
        with Client(server.grpc) as client:
            np.testing.assert_array_equal(client.predict("good", X)["y"], np.float32([3]))
            with pytest.raises(ModelNotFound, match=r"Latest\(bad\) \(version 1 failed: .*cannot|not a model"):
                client.predict("bad", X)
            for name, why in (
                ("empty", f" ({tmp_path}/empty has no version folder: expected one named by a number, such as 1)"),
                ("nowhere", f" ({tmp_path}/nowhere does not exist)"),
                ("unknown", ""),
            ):
                with pytest.raises(ModelNotFound) as raised:
                    client.predict(name, X)
                assert str(raised.value) == f"Servable not found for request: Latest({name}){why}"
        onnx_models.write_scale(tmp_path / "empty/1", 3)
        server.wait_state("empty", 1, "AVAILABLE")


def test_it_stops_before_its_ports_open(tmp_path: Path) -> None:
    write_partial(tmp_path / "m/1")
    with serving_flags(tmp_path, "--model_name=m", f"--model_base_path={tmp_path}/m") as server:
        wait_until(lambda: state_of(server, "m") == ["WAITING"], "the look at the folder")
        assert server.stop() == 0


def test_serve_says_that_a_model_is_loading(tmp_path: Path) -> None:
    """By every protocol, and for the version as for the model; until it is there."""
    partial = write_partial(tmp_path / "m/1")
    onnx_models.write_scale(tmp_path / "old/1", 2)
    (tmp_path / "bad/1").mkdir(parents=True)
    (tmp_path / "bad/1/model.onnx").write_bytes(b"no model")
    manifest = (
        "models: [{name: m, path: m}, {name: bad, path: bad},"
        " {name: old, path: old, versions: [{version: 1}, {version: 7}]}]"
    )
    with serving(tmp_path, manifest, ready=False, listen=WITH_REST) as server, server.client() as client:
        wait_until(lambda: state_of(server, "m") == ["WAITING"], "the look at the folder")
        wait_until(lambda: is_open(server.grpc) and is_open(server.http), "the ports")
        server.wait_state("old", 1, "AVAILABLE")  # and so every gateway knows what was seen before
        loading = f"is still loading: {PARTIAL} is a partial copy"
        for version in (None, 1):
            with pytest.raises(Unavailable, match=f"model m {loading}"):
                client.predict("m", X, version=version)
        with pytest.raises(ModelNotFound, match=r"Specific\(m, 2\)$"):
            client.predict("m", X, version=2)
        for method, path, body in (
            ("POST", "/v1/models/m:predict", {"instances": [1.5]}),
            ("POST", "/v1/models/m/versions/1:predict", {"instances": [1.5]}),
            ("GET", "/v1/models/m/metadata", None),
            ("POST", "/v2/models/m/infer", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}),
            ("GET", "/v2/models/m", None),
        ):
            answer = ask(server.http, method, path, body if body is not None else b"")
            assert (answer.status, loading in answer.json["error"]) == (503, True), (path, answer)
        assert ask(server.http, "GET", "/v2/models/m/ready").status != 200
        with grpc.insecure_channel(server.grpc) as channel:
            for call, request in (
                ("tensorflow.serving.PredictionService/GetModelMetadata", metadata_request()),
                ("inference.GRPCInferenceService/ModelInfer", messages.ModelInferRequest(model_name="m")),
                ("inference.GRPCInferenceService/ModelMetadata", messages.ModelMetadataRequest(name="m")),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(f"/{call}")(request.SerializeToString(), timeout=20)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, call
                assert loading in caught.value.details()

        server.wait_state("bad", 1, "FAILED")
        with pytest.raises(ModelNotFound, match=r"^Servable not found for request: Latest\(bad\) \(version 1 failed: "):
            client.predict("bad", X)
        # A version that is listed and has no files does not exist.
        server.wait_state("old", 1, "AVAILABLE")
        with pytest.raises(ModelNotFound, match=r"Specific\(old, 7\)"):
            client.predict("old", X, version=7)

        partial.unlink()
        server.wait_state("m", 1, "AVAILABLE")
        np.testing.assert_array_equal(client.predict("m", X)["y"], np.float32([3]))


def metadata_request() -> Any:
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    return request
