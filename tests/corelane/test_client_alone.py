"""The base install: the client without what serving needs, and what the command line says then."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from corelane.__main__ import NATIVE_MODULES, SERVER_MODULES
from tests.support import onnx_models
from tests.support.server import Server, serving

ENGINES = ("tensorflow", "onnxruntime", "openvino", "onnx", "tbb", "opentelemetry", "jwt", "pandas", "polars")
# What of the server's packages the client has in common with the server.
SHARED = {
    "corelane.processor",
    "corelane.processor.errors",
    "corelane.processor.wire",
    *(
        f"corelane.processor.wire.{name}"
        for name in ("messages", "status", "tensor_types", "tensors", "version_numbers")
    ),
}
# Refuses modules as if they were not installed.
REFUSAL = """
import sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if any(name == refused or name.startswith(refused + ".") for refused in REFUSED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusal())
"""
CALLS = """
import asyncio
import corelane

with corelane.Client(ADDRESS) as client:
    assert client.predict("scale", [{"x": 1}, {"x": 2}])["y"].tolist() == [2, 4]

async def call():
    async with corelane.AsyncClient(ADDRESS) as client:
        return await client.predict("scale", {"x": 3})

assert asyncio.run(call())["y"].tolist() == [6]
servers = ("corelane.processor", "corelane.scheduler", "corelane.kernels", "corelane.configs")
print(sorted(name for name in sys.modules if name.startswith(servers)))
"""


def run(code: str, refused: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Code in a fresh interpreter where these modules cannot be imported."""
    text = f"REFUSED = {refused!r}\n{REFUSAL}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_scale(folder / "scale/1", 2)
    with serving(folder, "models: [{name: scale, path: scale}]") as running:
        yield running


def test_the_client_needs_nothing_of_the_servers(server: Server) -> None:
    result = run(f"ADDRESS = {server.grpc!r}\n{CALLS}", (*SERVER_MODULES, *NATIVE_MODULES, *ENGINES))
    assert result.stderr == ""
    assert result.returncode == 0
    loaded = set(eval(result.stdout))
    assert loaded <= SHARED


def test_the_refusal_refuses() -> None:
    for module in ("corelane.processor._native", "pydantic", "yaml"):
        assert "ModuleNotFoundError" in run(f"import {module}", (*SERVER_MODULES, *NATIVE_MODULES)).stderr


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        *[((name,), "is not installed: pip install 'corelane[server]'") for name in SERVER_MODULES],
        (NATIVE_MODULES, "this installation has the client only"),
    ],
)
def test_commands_say_what_they_lack(refused: tuple[str, ...], message: str) -> None:
    result = run("import runpy\nrunpy.run_module('corelane', run_name='__main__')", refused, "serve", "m.yaml")
    assert result.returncode == 1
    assert result.stderr.startswith("corelane: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_module_of_the_extra_is_named() -> None:
    """As the extra `server` has a requirement for each, and no other."""
    server, base = set(), set()
    for line in requires("corelane") or ():
        requirement = Requirement(line)
        if requirement.marker is None:
            base.add(requirement.name)
        elif requirement.marker.evaluate({"extra": "server"}):
            server.add(requirement.name)
    if not server:
        pytest.skip("corelane was installed here before it had the extra `server`")
    assert base == {"grpcio", "ml_dtypes", "numpy", "protobuf"}
    distributions = {
        "google_crc32c": "google-crc32c",
        "grpc_health": "grpcio-health-checking",
        "grpc_reflection": "grpcio-reflection",
        "prometheus_client": "prometheus-client",
        "yaml": "pyyaml",
    }
    assert {distributions.get(module, module) for module in SERVER_MODULES} == server


def test_every_module_of_the_list_is_there() -> None:
    assert all(find_spec(name) for name in (*SERVER_MODULES, *NATIVE_MODULES))


def test_other_systems_build_no_native_module(tmp_path: Path) -> None:
    """setup.py as another system's Python runs it: what it hands to setuptools."""
    root = Path(__file__).parent.parent.parent
    code = """
import sys, setuptools
handed = {}
setuptools.setup = lambda **options: handed.update(options)
sys.platform = sys.argv[1]
exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__file__": "setup.py", "__name__": "__main__"})
print([module.name for module in handed["ext_modules"]])
"""
    pytest.importorskip("pybind11", reason="setup.py needs pybind11")
    for system, expected in (("darwin", []), ("win32", []), ("linux", sorted(NATIVE_MODULES))):
        result = subprocess.run(
            [sys.executable, "-c", code, system], cwd=root, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr
        assert sorted(eval(result.stdout)) == expected
