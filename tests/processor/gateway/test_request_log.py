"""The request log: what it keeps, what it drops, and who reads it back: TensorFlow's own messages, warm-up, replay."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor.channel.gateway_end import Cancellation
from corelane.processor.channel.methods import Method
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.control.routes import LogRoute
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.records import log_files
from corelane.processor.gateway.records.request_log import RequestLog
from corelane.processor.wire import kserve_tensors, messages, records, tensors
from corelane.processor.wire.prediction_log import read_logs, to_log
from tests.conftest import ServingApi
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import serving, wait_until


def predict_call(value: float = 1.0) -> Call:
    request = messages.PredictRequest()
    request.model_spec.name = "m"
    tensors.encode(np.array([value], np.float32), request.inputs["x"])
    return Call(
        method=Method.PREDICT,
        model="m",
        request=request.SerializeToString(),
        deadline_ns=0,
        cancellation=Cancellation(),
    )


def predict_answer() -> bytes:
    response = messages.PredictResponse()
    response.model_spec.name, response.model_spec.version.value = "m", 7
    tensors.encode(np.array([2.0], np.float32), response.outputs["y"])
    return bytes(response.SerializeToString())


def test_a_record_is_what_tensorflow_serving_writes(serving_api: ServingApi) -> None:
    data = to_log(Method.PREDICT, predict_call().request, predict_answer(), 1_700_000_000)
    assert data is not None
    found = serving_api.ask("prediction_log", data.hex())["ok"]
    assert found["log_metadata"] == {
        "model_spec": {"name": "m", "version": "7"},
        "timestamp_secs": "1700000000",
    }
    assert found["predict_log"]["request"]["model_spec"] == {"name": "m"}
    assert found["predict_log"]["response"]["outputs"]["y"]["float_val"] == [2.0]


def test_a_call_of_kserve_becomes_a_predict() -> None:
    request = messages.ModelInferRequest(model_name="m", model_version="7")
    request.parameters["signature_name"].string_param = "s"
    request.inputs.add(name="x", datatype="BYTES", shape=[2])
    request.raw_input_contents.append(kserve_tensors.to_raw(np.array([b"a", b"bc"], object)))
    request.outputs.add(name="y")
    response = messages.ModelInferResponse(model_name="m", model_version="7")
    kserve_tensors.fill_response(response, {"y": np.array([1.5], np.float32)})
    data = to_log(Method.INFER, request.SerializeToString(), response.SerializeToString(), 1)
    log = messages.PredictionLog.FromString(data).predict_log
    spec = log.request.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 7, "s")
    assert list(log.request.inputs["x"].string_val) == [b"a", b"bc"]
    assert list(log.request.output_filter) == ["y"]
    assert tensors.decode("y", log.response.outputs["y"], bytes_max=100).tolist() == [1.5]


def test_metadata_is_not_logged(tmp_path: Path) -> None:
    assert to_log(Method.METADATA, b"", b"", 1) is None


def test_only_a_share_is_written_and_files_are_bounded(tmp_path: Path) -> None:
    draws = iter([0.05, 0.5] * 50)
    log = RequestLog(draw=lambda: next(draws))
    settings = LogRoute(folder=str(tmp_path / "logs"), percent=10, bytes_max=1 << 20)
    for number in range(100):
        log.record(predict_call(number), settings, predict_answer())
    log.close()
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name.startswith("m-") and file.suffix == ".tfrecord"
    logged = [tensors.decode("x", request.inputs["x"], bytes_max=100)[0] for _, request, _ in read_logs(file)]
    assert logged == list(range(0, 100, 2))
    assert log.take_counts() == [Count(kind=CountKind.LOG, model="m", outcome="written", number=50)]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_oldest_files_of_a_model_go(tmp_path: Path) -> None:
    """And no other's, whatever the others are called."""
    time = "20260101T000000-00000000"
    others = ["m-2", "m-1-20260101T000000-000000000", "m.tfrecord", "other", "M", "m%2F", "n"]
    for number in range(6):
        path = tmp_path / f"m-1-{time}{number}.tfrecord"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    (tmp_path / f"m-1-{time}9.tfrecord.partial").write_bytes(b"x" * 1000)
    for other in others:
        (tmp_path / log_files.new_path(tmp_path, other)).write_bytes(b"x" * 1000)
    (tmp_path / "notes-m-1.tfrecord").write_bytes(b"x" * 1000)
    before = _names(tmp_path)
    log_files.trim(tmp_path, "m", 350)
    assert set(before) - set(_names(tmp_path)) == {f"m-1-{time}{number}.tfrecord" for number in range(3)}
    log_files.trim(tmp_path, "m-2", 0)
    assert [name for name in before if name not in _names(tmp_path)][3:] == [
        name for name in before if name.startswith(f"m-2-{os.getpid()}-")
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "a_b"), ("a/b", "a%2Fb"), ("x" * 256, "x" * 255 + "y"), ("ä", "a"), ("..", "."), ("m-1", "m")],
)
def test_no_two_models_share_files(tmp_path: Path, one: str, other: str) -> None:
    for model in (one, other):
        path = log_files.new_path(tmp_path, model)
        path.write_bytes(b"x")
        assert path.parent == tmp_path
    assert len(_names(tmp_path)) == 2
    log_files.trim(tmp_path, one, 0)
    assert len(_names(tmp_path)) == 1
    log_files.trim(tmp_path, other, 0)
    assert _names(tmp_path) == []


def test_what_a_killed_gateway_left_is_ended(tmp_path: Path) -> None:
    paths = [tmp_path / f"m-{number}-20260101T000000-000000000.tfrecord.partial" for number in range(4)]
    whole = records.to_record(b"one") + records.to_record(b"two")
    for path, data in zip(paths, [whole, whole + b"cut", b"cut", whole], strict=True):
        path.write_bytes(data)
    for path in paths[:3]:
        os.utime(path, (0, 0))
    log_files.end_abandoned(tmp_path, "m")
    ended = [path.with_suffix("") for path in paths]
    assert _names(tmp_path) == [ended[0].name, ended[1].name, paths[3].name], "the last may still be written"
    assert [[*records.read(path)] for path in ended[:2]] == [[b"one", b"two"]] * 2


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = RequestLog()
    settings = LogRoute(folder=str(tmp_path / "file/logs"), percent=100, bytes_max=1 << 20)
    log.record(predict_call(), settings, predict_answer())
    log.close()
    assert log.take_counts() == [Count(kind=CountKind.LOG, model="m", outcome="failed", number=1)]


def test_what_finds_no_room_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(RequestLog, "_write", lambda *_: stuck.wait(20))
    log = RequestLog()
    settings = LogRoute(folder=str(tmp_path), percent=100, bytes_max=1 << 20)
    for _ in range(300):
        log.record(predict_call(), settings, predict_answer())
    (count,) = log.take_counts()
    assert (count.outcome, count.number in (43, 44)) == ("dropped", True)
    stuck.set()
    log.close()


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corelane", "replay", *map(str, arguments)], capture_output=True, text=True
    )


def test_logged_calls_warm_a_version_up_and_are_replayed(
    tmp_path: Path, tensorflow_models: Path, serving_api: ServingApi
) -> None:
    import shutil

    shutil.copytree(tensorflow_models / "tf1", tmp_path / "m")
    onnx_models.write_scale(tmp_path / "scale/1", 1)
    onnx_models.write_scale(tmp_path / "scale/2", 2)
    models = (
        "models:\n"
        "- {name: m, path: m, request_log: {folder: logs, percent: 100}}\n"
        "- {name: scale, path: scale, request_log: {folder: logs, percent: 100},"
        " versions: [{version: 1, traffic: 100}, {version: 2, traffic: 0}]}\n"
    )
    with serving(tmp_path, models) as server:
        server.wait_state("scale", 2, "AVAILABLE")
        server.wait_state("scale", 1, "AVAILABLE")
        with Client(server.grpc) as client:
            for number in range(20):
                client.predict("m", {"x": [float(number)]})
                client.predict("scale", {"x": [float(number)]})
        example = {"features": {"feature": {"x": {"float_list": {"value": [1.0]}}}}}
        spec = {"name": "m", "signature_name": "classify"}
        body = {"model_spec": spec, "input": {"example_list": {"examples": [example]}}}
        assert "ok" in serving_api.call(server.grpc, "Classify", body)
        assert server.stop() == 0
    files = sorted((tmp_path / "logs").glob("m-*.tfrecord"))
    methods = [method for file in files for method, _, _ in read_logs(file)]
    assert (methods.count(Method.PREDICT), methods.count(Method.CLASSIFY)) == (20, 1)

    # As a warm-up file of the next version.
    shutil.copytree(tmp_path / "m/1", tmp_path / "m/2")
    (tmp_path / "m/2/assets.extra").mkdir()
    warm_up = b"".join(file.read_bytes() for file in files)
    (tmp_path / "m/2/assets.extra/tf_serving_warmup_requests").write_bytes(warm_up)
    with serving(tmp_path, models) as server:
        server.wait_state("m", 2, "AVAILABLE")
        server.wait_state("scale", 2, "AVAILABLE")
        said = "warmed up with recorded requests: 20 PREDICT, 1 CLASSIFY"
        wait_until(lambda: said in server.log.read_text(), "the warm-up's line", 10)

        result = run(*files, "--server", server.grpc)
        assert (result.returncode, result.stderr) == (0, "")
        assert "21 answers compared with the recorded ones: 21 equal" in result.stdout
        logs = sorted((tmp_path / "logs").glob("scale-*.tfrecord"))
        found = json.loads(run(*logs, "--server", server.grpc, "--version", 2, "--repeat", 2, "--json").stdout)
        assert (found["calls"], found["answered"], found["failed"]) == (40, 40, 0)
        # Version 2 doubles what version 1 returned as it came; zero is zero.
        assert (found["compared"], found["equal"], found["largest_difference"]) == (40, 2, 19.0)
        result = run(*logs, "--server", server.grpc, "--model", "nothing")
        assert (result.returncode, "failed with NOT_FOUND: Servable not found" in result.stdout) == (1, True)
        (tmp_path / "damaged").write_bytes(records.to_record(b"\xff\xff"))
        for path in (tmp_path / "nothing", tmp_path / "damaged"):
            result = run(path, "--server", server.grpc)
            assert (result.returncode, "cannot be read" in result.stderr) == (1, True)
