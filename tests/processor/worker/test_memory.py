"""Memory: what a large call took is given back, and a run without enough is RESOURCE_EXHAUSTED. Runs that an engine
refuses leave nothing behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor._native import OutsizedRuns
from corelane.processor.engines import load_engine
from corelane.processor.engines.engine import Engine, EngineOptions
from corelane.processor.errors import InvalidRequest, OutOfMemory, RequestError
from corelane.processor.wire.status import code_of
from tests.support import onnx_models


def run(engine: Engine, session: Any, x: np.ndarray) -> np.ndarray:
    (signature,) = engine.signatures().values()
    return engine.run(session, signature, {"x": x}, ["y"])["y"]


@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_a_refused_run_leaves_nothing_behind(tmp_path: Path, engine_name: str, sessions: int) -> None:
    """OpenVINO called an earlier run's output this one's, or refused what came after a refused run."""
    onnx_models.write_thirds(tmp_path / "1")
    engine = load_engine(engine_name, tmp_path / "1", EngineOptions(sessions=sessions))
    made = [engine.make_session() for _ in range(sessions)]
    random = np.random.default_rng(7)
    for step in range(150):
        size = int(random.choice([3, 4, 5, 6, 6, 9]))
        x = np.full(size, step, np.float32)
        session = made[random.integers(sessions)]
        if size % 3:
            with pytest.raises(InvalidRequest, match="shape"):
                run(engine, session, x)
        else:
            np.testing.assert_array_equal(run(engine, session, x), np.full((3, size // 3), step + 1, np.float32))


_UNDER_A_LIMIT = """
import json, resource, sys
from pathlib import Path
import numpy as np
from corelane.processor._native import PredictSession
from corelane.processor.engines import load_engine
from corelane.processor.engines.engine import EngineOptions, NativeEngine
from corelane.processor.errors import RequestError
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import code_of

name, folder = sys.argv[1:]
engine = load_engine(name, Path(folder), EngineOptions())
session = engine.make_session()
(signature,) = engine.signatures().values()

def codes(x):
    try:
        y = engine.run(session, signature, {"x": x}, ["y"])["y"]
        return "OK" if y.shape == (len(x), 1) and (y == x.sum(1, keepdims=True) * 64).all() else "WRONG"
    except RequestError as error:
        return code_of(error).name
    except MemoryError:
        return "RESOURCE_EXHAUSTED"

small = np.ones((4, 4), np.float32)
found = [codes(small)]
taken = next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (taken + (48 << 20), resource.RLIM_INFINITY))
# 1 MiB of inputs, 1 GiB inside.
found += [codes(np.ones((1 << 16, 4), np.float32)), codes(small)]
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
found += [codes(small), codes(np.ones((5, 4), np.float32)), codes(np.ones((4, 4), np.float32))]
print(json.dumps(found))
"""


@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime"])
def test_a_run_without_memory_is_resource_exhausted(tmp_path: Path, engine_name: str) -> None:
    onnx_models.write_spread(tmp_path / "1", 4096)
    command = [sys.executable, "-c", _UNDER_A_LIMIT, engine_name, str(tmp_path / "1")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["OK", "RESOURCE_EXHAUSTED", "OK", "OK", "OK", "OK"], done.stderr


def test_out_of_memory_is_resource_exhausted() -> None:
    error: RequestError = OutOfMemory("none")
    assert code_of(error).name == "RESOURCE_EXHAUSTED"


def test_memory_is_given_back_when_runs_have_become_small() -> None:
    runs = OutsizedRuns()

    def ran(sizes_mib: list[float]) -> list[int]:
        return [index for index, size in enumerate(sizes_mib) if runs.ran(int(size * (1 << 20)))]

    assert ran([0.1] * 100) == []  # nothing that is worth it
    assert ran([64, *[0.1] * 40]) == [16]  # once
    assert ran([64, *[40] * 40]) == []  # that is what runs take
    assert ran([*[0.1] * 15, 64, *[0.1] * 20]) == [31]  # a large one begins the count anew


_LARGE_AND_SMALL = """
import sys
from pathlib import Path
import numpy as np
from corelane.processor._native import PredictResult, PredictSession
from corelane.processor.engines import load_engine
from corelane.processor.engines.engine import _UNLIMITED, EngineOptions, NativeEngine
from corelane.processor.wire import messages, tensors

name, folder = sys.argv[1:]
engine = load_engine(name, Path(folder), EngineOptions())
session = engine.make_session()
signature = engine.signatures()["serving_default"]
predict = PredictSession(engine.model, session, _UNLIMITED).predict if isinstance(engine, NativeEngine) else None

def run(count):
    x = np.ones(count, np.float32)
    if predict is None:
        return engine.run(session, signature, {"x": x}, ["y"])
    request = messages.PredictRequest()
    tensors.encode(x, request.inputs["x"], as_content=True)
    result, answer, _ = predict(request.SerializeToString())
    assert result is PredictResult.RAN and len(answer) > 4 * count

def resident():
    return next(int(l.split()[1]) >> 10 for l in open("/proc/self/status") if l.startswith("VmRSS"))

for _ in range(20):
    run(3)
before = resident()
run(24 << 20)  # 96 MiB in, and out
for _ in range(20):
    run(3)
print(resident() - before)
"""


@pytest.mark.parametrize("engine_name", ["openvino", "onnxruntime", "tensorflow"])
def test_one_large_call_leaves_little(tmp_path: Path, tensorflow_models: Path, engine_name: str) -> None:
    onnx_models.write_thirds(tmp_path / "1")
    folder = tensorflow_models / "weights/1" if engine_name == "tensorflow" else tmp_path / "1"
    command = [sys.executable, "-c", _LARGE_AND_SMALL, engine_name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32  # MiB, of the 96 that each tensor took
