"""A native worker answers without Python's lock: it goes on while another thread holds that and lets nobody have it."""

import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from corelane.processor.channel.gateway_end import path_of
from corelane.processor.engines import EngineOptions, NativeEngine, load_engine
from corelane.processor.wire import messages, tensors
from tests.support import onnx_models
from tests.support.channels import INSTANCE, Rig

HOLD_S = 1.0


def hold_pythons_lock() -> None:
    """Sleeps in C as an extension does that never gives the lock back (`PyDLL`, unlike `CDLL`)."""
    ctypes.PyDLL(None).usleep(int(HOLD_S * 1e6))


def answers_while_held(rig: Rig, request: Path) -> list[int]:
    """When answers came, in ns, from before the lock was held; and from another process, which needs none of ours."""
    command = [sys.executable, "-m", "tests.support.channel_client", path_of(rig.channel), str(INSTANCE)]
    with subprocess.Popen(
        [*command, str(request), str(HOLD_S + 1)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert json.loads(client.stdout.readline()) == "ready"
        time.sleep(0.2)
        before_ns = time.monotonic_ns()
        hold_pythons_lock()
        after_ns = time.monotonic_ns()
        output, _ = client.communicate(timeout=30)
    assert client.returncode == 0
    return [came_ns - before_ns for came_ns in json.loads(output) if before_ns < came_ns < after_ns]


def write_request(target: Path, **inputs: np.ndarray) -> Path:
    message = messages.PredictRequest()
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    target.write_bytes(message.SerializeToString())
    return target


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_a_native_engine_answers_while_the_lock_is_held(name: str, tensorflow_models: Path, tmp_path: Path) -> None:
    if name == "tensorflow":
        folder = tensorflow_models / "tf2/1"
        request = write_request(tmp_path / "request", word=np.array([b"a"], np.object_), x=np.ones((1, 2), np.float32))
    else:
        folder = tmp_path / "1"
        onnx_models.write_identity(folder, TensorProto.FLOAT, ["rows", 2])
        request = write_request(tmp_path / "request", x=np.ones((1, 2), np.float32))
    engine = load_engine(name, folder, EngineOptions())
    assert isinstance(engine, NativeEngine)
    rig = Rig(model=engine.model)
    times_ns = answers_while_held(rig, request)
    gaps_ns = np.diff([0, *times_ns, int(HOLD_S * 1e9)])
    assert gaps_ns.max() < HOLD_S * 0.5e9, "a request that takes the lock waits until it is given back"
    assert rig.channel.statistics()["through_python"] == 0
    rig.stop()


def test_the_proof_fails_where_python_answers(tmp_path: Path) -> None:
    rig = Rig()
    times_ns = answers_while_held(rig, write_request(tmp_path / "request"))
    assert np.diff([0, *times_ns, int(HOLD_S * 1e9)]).max() > HOLD_S * 0.5e9
    rig.stop()
