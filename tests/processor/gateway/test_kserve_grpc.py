"""KServe's gRPC service as Triton's own client sees it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from corelane.processor.version import VERSION
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import Server, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    entries = [f"{{name: {name}, path: {tensorflow_models / name}}}" for name in ("tf2", "types")]
    entries.append("{name: scale, path: scale, versions: [{version: 1}, {version: 2, label: canary}]}")
    with serving(folder, f"models: [{', '.join(entries)}]") as running:
        running.wait_state("scale", 2, "AVAILABLE")
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc) as found:
        yield found


def tf2_inputs() -> list[triton.InferInput]:
    word = triton.InferInput("word", [3], "BYTES")
    word.set_data_from_numpy(np.array([b"a", b"b", b"?"], object))
    x = triton.InferInput("x", [3, 2], "FP32")
    x.set_data_from_numpy(np.array([[1, 1], [2, 0], [0, 0]], np.float32))
    return [word, x]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(client: triton.InferenceServerClient, compression: str | None) -> None:
    found = client.infer("tf2", tf2_inputs(), request_id="r1", compression_algorithm=compression)
    response = found.get_response()
    assert (response.model_name, response.model_version, response.id) == ("tf2", "1", "r1")
    np.testing.assert_array_equal(found.as_numpy("score"), np.array([7, 8, -1], np.float32))
    assert found.as_numpy("upper").tolist() == [b"A", b"B", b"?"]


def test_infer_with_another_signature_and_chosen_outputs(client: triton.InferenceServerClient) -> None:
    x = triton.InferInput("x", [], "FP32")
    x.set_data_from_numpy(np.array(2.0, np.float32))
    found = client.infer("tf2", [x], parameters={"signature_name": "scalar"})
    assert found.as_numpy("y").tolist() == 6.0
    found = client.infer("tf2", tf2_inputs(), outputs=[triton.InferRequestedOutput("score")])
    assert [output.name for output in found.get_response().outputs] == ["score"]


def test_a_version_or_a_label(client: triton.InferenceServerClient) -> None:
    x = triton.InferInput("x", [1], "FP32")
    x.set_data_from_numpy(np.ones(1, np.float32))
    for wanted, expected in (("1", 1.0), ("2", 2.0), ("canary", 2.0), ("", 2.0)):
        assert client.infer("scale", [x], model_version=wanted).as_numpy("y").tolist() == [expected]


def test_contents_instead_of_raw(server: Server) -> None:
    request = service_pb2.ModelInferRequest(model_name="scale", model_version="2")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.contents.fp32_contents.extend([1.0, 3.0])
    with grpc.insecure_channel(server.grpc) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [2.0, 6.0]


def test_native_requests_never_meet_python(server: Server, client: triton.InferenceServerClient) -> None:
    def codes() -> tuple[int, int]:
        found = server.version("tf2", 1)["requests"]
        return found["answered"], found["through_python"]

    before = codes()
    client.infer("tf2", tf2_inputs())
    answered, python = codes()
    assert (answered - before[0], python - before[1]) == (1, 0)


@pytest.mark.parametrize(
    ("model", "version", "names", "status", "message"),
    [
        ("nothing", "", {}, "StatusCode.NOT_FOUND", r"Servable not found for request: Latest\(nothing\)"),
        ("tf2", "9", {}, "StatusCode.NOT_FOUND", r"Servable not found for request: Specific\(tf2, 9\)"),
        ("tf2", str(2**63 - 1), {}, "StatusCode.NOT_FOUND", f"request: Specific\\(tf2, {2**63 - 1}\\)"),
        ("tf2", str(2**63), {}, "StatusCode.INVALID_ARGUMENT", f"'{2**63}' is no version"),
        ("tf2", "٣", {}, "StatusCode.INVALID_ARGUMENT", "Unrecognized servable version label: ٣"),
        ("tf2", "beta", {}, "StatusCode.INVALID_ARGUMENT", "Unrecognized servable version label: beta"),
        ("tf2", "", {"signature_name": "s"}, "StatusCode.FAILED_PRECONDITION", 'signature key "s" not found'),
    ],
)
def test_errors(
    client: triton.InferenceServerClient, model: str, version: str, names: dict, status: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as found:
        client.infer(model, tf2_inputs(), model_version=version, parameters=names)
    assert found.value.status() == status


def test_what_the_client_may_ask_and_is_not_offered(client: triton.InferenceServerClient) -> None:
    shared = triton.InferRequestedOutput("score")
    shared.set_shared_memory("region", 12)
    for outputs, sequence, message in (
        ([triton.InferRequestedOutput("score", class_count=2)], 0, "'classification' of output 'score' is not offered"),
        ([shared], 0, "'shared_memory_byte_size' of output 'score' is not offered"),
        (None, 5, "'sequence_end' of the request|'sequence_id' of the request is not offered"),
    ):
        with pytest.raises(InferenceServerException, match=message) as raised:
            client.infer("tf2", tf2_inputs(), outputs=outputs, sequence_id=sequence)
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    found = client.infer("tf2", tf2_inputs(), priority=2, timeout=10)
    np.testing.assert_array_equal(found.as_numpy("score"), np.array([7, 8, -1], np.float32))


def test_a_deadline(server: Server, client: triton.InferenceServerClient) -> None:
    worker = server.version("tf2", 1)["pid"]
    os.kill(worker, signal.SIGSTOP)  # however fast the machine is, there is no answer in time
    try:
        with pytest.raises(InferenceServerException) as raised:
            client.infer("tf2", tf2_inputs(), client_timeout=0.05)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tf2")
    assert client.is_model_ready("scale", "1")
    assert not client.is_model_ready("scale", "7")
    assert not client.is_model_ready("nothing")
    about = client.get_server_metadata()
    assert (about.name, about.version) == ("corelane", VERSION)
    found = client.get_model_metadata("tf2", as_json=True)
    assert found["versions"] == ["1"]
    assert found["inputs"] == [
        {"name": "word", "datatype": "BYTES", "shape": ["-1"]},
        {"name": "x", "datatype": "FP32", "shape": ["-1", "2"]},
    ]
    assert client.get_model_metadata("scale").versions == ["1", "2"]
    with pytest.raises(InferenceServerException, match="Servable not found"):
        client.get_model_metadata("nothing")


def test_the_repository(server: Server, client: triton.InferenceServerClient) -> None:
    def index() -> dict[tuple[str, str], tuple[str, str]]:
        return {(one.name, one.version): (one.state, one.reason) for one in client.get_model_repository_index().models}

    assert index()["scale", "2"] == ("READY", "")
    client.unload_model("scale")
    assert not client.is_model_ready("scale")
    with Client(server.grpc) as other:
        assert other.status("tf2") == {1: "AVAILABLE"}
    for _ in range(2):
        client.load_model("scale")
        assert client.is_model_ready("scale"), "a load returns when the model answers"
    server.wait_state("scale", 1, "AVAILABLE")
    client.unload_model("scale")
    wait_until(lambda: index().get(("scale", "")) == ("UNAVAILABLE", "unloaded by a client"), "the end of its workers")
    client.load_model("scale")
    for name in ("load_model", "unload_model"):
        with pytest.raises(InferenceServerException, match="model 'nothing' is not in the manifest"):
            getattr(client, name)("nothing")
    with pytest.raises(InferenceServerException, match="loads with parameters are not offered"):
        client.load_model("scale", config="{}")
