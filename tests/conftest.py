"""Fixtures that take long to make, once for all tests."""

import atexit
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import build_cache, distribution

# Correctness tests never time.
settings.register_profile("corelane", deadline=None)
settings.load_profile("corelane")

# Servers that a test starts by itself keep nothing in the home folder.
_STATE = tempfile.mkdtemp(prefix="corelane-state-")
os.environ["CORELANE_STATE"] = _STATE
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return distribution.processes(len(os.sched_getaffinity(0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.LongestFirst:
    return distribution.LongestFirst(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    distribution.sort(items)


_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}
# Distributions whose version may change what the modules of `tests.support` write.
_MODELS_ARE_MADE_BY = ("tensorflow-cpu", "keras", "numpy", "protobuf", "onnx")


class ServingApi:
    """TensorFlow-Serving's own client, driven in its process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.serving_api"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_QUIET},
        )
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline()) == "ready"

    def ask(self, action: str, *arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([action, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def call(
        self, address: str, method: str, request: dict[str, Any], inputs: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return self.ask("call", address, method, request, inputs or {}, 20)

    def close(self) -> None:
        self._process.communicate()


def strings(plain: dict[str, Any]) -> list[bytes]:
    """The values of a string tensor, as the client's process sends them."""
    return [base64.b64decode(item) for item in plain["strings"]]


@pytest.fixture(scope="session")
def serving_api() -> Iterator[ServingApi]:
    api = ServingApi()
    yield api
    api.close()


@pytest.fixture(scope="session")
def cache_folder(pytestconfig: pytest.Config) -> Path | None:
    """The folder of `build_cache`, which outlives a run of the tests; None if pytest has no cache."""
    return pytestconfig.cache.mkdir("corelane-builds") if pytestconfig.cache else None


@pytest.fixture(scope="session")
def made_by(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path | None) -> Callable[[str], Path]:
    """A folder that a module of `tests.support` has filled, in a process of its own; all tests share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    versions = [sys.version, *(f"{name} {metadata.version(name)}" for name in _MODELS_ARE_MADE_BY)]

    def folder_of(module: str) -> Path:
        def make(folder: Path) -> None:
            subprocess.run(
                [sys.executable, "-m", f"tests.support.{module}", str(folder)],
                check=True,
                capture_output=True,
                env={**os.environ, **_QUIET},
            )

        with (shared / f"{module}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder := shared / module).exists():
                unfinished = shared / f"{module}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                key = build_cache.digest(Path(__file__).parent.glob("support/*.py"), versions)
                build_cache.fill(unfinished, module, key, make, cache_folder)
                unfinished.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def fused_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.fused_models`."""
    return made_by("fused_models")


@pytest.fixture(scope="session")
def tensorflow_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.tensorflow_models`."""
    return made_by("tensorflow_models")


@pytest.fixture(scope="session")
def row_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.row_models`."""
    return made_by("row_models")


@pytest.fixture(scope="session")
def batching_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.batching_models`."""
    return made_by("batching_models")


@pytest.fixture(scope="session")
def serving_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.serving_models`."""
    return made_by("serving_models")


@pytest.fixture(scope="session")
def signature_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.signature_models`."""
    return made_by("signature_models")


@pytest.fixture(scope="session")
def narrow_models(made_by: Callable[[str], Path]) -> Path:
    """The folder of `tests.support.narrow_models`."""
    return made_by("narrow_models")
