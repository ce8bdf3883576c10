"""The client: what it sends, what it raises."""

from collections.abc import Iterator

import numpy as np
import pytest

import corelane
from corelane import errors
from tests.support import onnx_models
from tests.support.server import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    onnx_models.write_slow(folder / "slow/1")
    models = "{name: scale, path: scale, versions: [{version: 1, label: old}, {version: 2}]}, {name: slow, path: slow}"
    with serving(folder, f"models: [{models}]") as running:
        running.wait_state("scale", 2, "AVAILABLE")
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[corelane.Client]:
    with corelane.Client(server.grpc) as made:
        yield made


def test_values_of_python_and_arrays(client: corelane.Client) -> None:
    for value in ([1, 2.5], np.float32([1, 2.5]), (1.0, 2.5)):
        assert client.predict("scale", {"x": value}, version=2)["y"].tolist() == [2, 5]
    assert client.predict("slow", {"n": 3})["total"] == 3


def test_versions_labels_status_and_metadata(client: corelane.Client) -> None:
    assert client.predict_versioned("scale", {"x": [1.0]}, label="old")[1] == 1
    assert client.predict_versioned("scale", {"x": [1.0]})[1] == 2
    assert client.status("scale") == {1: "AVAILABLE", 2: "AVAILABLE"}
    assert client.metadata("scale") == {
        "serving_default": {"inputs": {"x": ("DT_FLOAT", [-1])}, "outputs": {"y": ("DT_FLOAT", [-1])}}
    }


def test_typed_errors(client: corelane.Client) -> None:
    with pytest.raises(errors.ModelNotFound):
        client.predict("nonesuch", {})
    with pytest.raises(errors.InvalidRequest, match="Expects arg"):
        client.predict("scale", {"x": [1, 2]})
    with pytest.raises(errors.InvalidRequest, match="a version or a label, not both"):
        client.predict("scale", {}, version=1, label="old")
    with pytest.raises(errors.InvalidRequest, match='input "x": arrays of datetime64'):
        client.predict("scale", {"x": np.zeros(1, "datetime64[s]")})
    with pytest.raises(errors.DeadlinePassed):
        client.predict("slow", {"n": 1_000_000}, timeout_s=0.1)
    with pytest.raises(errors.FailedPrecondition, match="Serving signature key"):
        client.predict("scale", {"x": [1.0]}, signature="other")


def test_no_server() -> None:
    with corelane.Client("127.0.0.1:9") as client, pytest.raises(errors.Unavailable):
        client.predict("scale", {"x": [1.0]}, timeout_s=5)
