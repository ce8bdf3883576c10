"""Builds and installs corelane: one Python package, three native modules and the compiled wire descriptors.

Serving runs on Linux. Elsewhere there are no native modules, and the client is what the distribution is for. The base
install has what the client needs; the extras bring the rest."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1, which still builds in place
    from setuptools import Command as bdist_wheel

ROOT = Path(__file__).parent
ParallelCompile().install()
PROTO_FOLDER = "corelane/processor/wire/proto"

# What `corelane.Client` needs, and the wire that it shares with the server.
CLIENT = ["grpcio>=1.71,<2", "ml_dtypes>=0.5,<1", "numpy>=1.26,<3", "protobuf>=5.29,<8"]
# corelane/__main__.py has the modules of these.
SERVER = [
    "argcomplete>=3.5,<4",
    "google-crc32c>=1.5,<2",
    "grpcio-health-checking>=1.71,<2",
    "grpcio-reflection>=1.71,<2",
    "httptools>=0.6,<1",
    "orjson>=3.10,<4",
    "prometheus-client>=0.21,<1",
    "psutil>=6,<8",
    "pydantic>=2.10,<3",
    "pyyaml>=6,<7",
    "rich>=13.7,<16",
    "ruamel.yaml>=0.18,<1",
    "starlette>=0.45,<2",
    "uvicorn>=0.34,<1",
    "uvloop>=0.21,<1; sys_platform != 'win32'",
    "zstandard>=0.23,<1",
]
# tbb: the allocator that workers run with (processor/worker/allocator.py).
TENSORFLOW = [*SERVER, "tensorflow-cpu>=2.18,<2.22", "tbb>=2021.13,<2023; platform_machine == 'x86_64'"]
ONNXRUNTIME = [*SERVER, "onnxruntime>=1.20,<2"]
OPENVINO = [*SERVER, "openvino>=2025.0,<2027"]
AUTH = [*SERVER, "PyJWT[crypto]>=2.8,<3"]
TRACES = [*SERVER, "opentelemetry-sdk>=1.27,<2", "opentelemetry-exporter-otlp-proto-http>=1.27,<2"]
DEMO = [*TENSORFLOW, *ONNXRUNTIME, *OPENVINO, "onnx>=1.17,<2"]


def without_repeats(*extras: list[str]) -> list[str]:
    return list(dict.fromkeys(requirement for extra in extras for requirement in extra))


class BuildWithDescriptors(build_py):
    """Compiles the .proto files to one descriptor set beside them, then collects the packages."""

    def run(self) -> None:
        import grpc_tools
        from grpc_tools import protoc

        protos = sorted(str(path.relative_to(ROOT / "corelane")) for path in (ROOT / PROTO_FOLDER).glob("*.proto"))
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        target = ROOT / "corelane/processor/wire/descriptors.binpb"
        arguments = ["protoc", f"-I{ROOT / 'corelane'}", f"-I{well_known}", f"--descriptor_set_out={target}", *protos]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc could not compile " + ", ".join(protos))
        super().run()


class ManylinuxWheel(bdist_wheel):
    """A wheel under the oldest manylinux tag that its native modules allow, which auditwheel finds; plain linux, which
    only this machine should install, where auditwheel has none for it."""

    def run(self) -> None:
        super().run()
        command, version, file = self.distribution.dist_files[-1]
        wheel = Path(file)
        if "-linux_" not in wheel.name or shutil.which("auditwheel") is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            repair = ["auditwheel", "repair", "--wheel-dir", folder, str(wheel)]
            if subprocess.run(repair, check=False).returncode != 0:
                print(f"{wheel.name} keeps its tag: auditwheel has no manylinux one for it", file=sys.stderr)
                return
            (repaired,) = Path(folder).glob("*.whl")
            target = wheel.with_name(repaired.name)
            shutil.copyfile(repaired, target)
        wheel.unlink()
        self.distribution.dist_files[-1] = (command, version, str(target))


def native(name: str, folder: str, *others: str) -> Pybind11Extension:
    """A module of every C++ file in a folder, and of those in others but their tables of contents."""
    sources = list((ROOT / folder).rglob("*.cc"))
    for other in others:
        sources += [path for path in (ROOT / other).glob("*.cc") if path.name != "binding.cc"]
    headers = [path for each in (folder, *others) for path in (ROOT / each).rglob("*.h")]
    return Pybind11Extension(
        name,
        sorted(str(path.relative_to(ROOT)) for path in sources),
        include_dirs=[str(ROOT / each) for each in (folder, *others)],
        depends=sorted(str(path.relative_to(ROOT)) for path in headers),
        cxx_std=17,
        extra_compile_args=["-O3", "-Wall", "-Wextra"],
        libraries=["dl"],
    )


setup(
    name="corelane",
    version="0.1.0",
    description="A multi-model CPU inference server for recommendation models",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # The folders beside `corelane` are packages of it by way of links there.
    packages=find_packages(include=["corelane", "corelane.*"]),
    package_data={
        "corelane": ["py.typed"],
        "corelane.configs": ["*.yaml", "*.json", "*.service", "Containerfile", "kubernetes/*.yaml"],
        "corelane.kernels": ["*.pyi"],
        "corelane.processor": ["*.pyi"],
        "corelane.processor.supervisor.views": ["page_parts/*"],
        "corelane.processor.wire": ["descriptors.binpb", "proto/*.proto"],
        "corelane.scheduler": ["*.pyi"],
    },
    ext_modules=[]
    if sys.platform != "linux"
    else [
        native("corelane.processor._native", "corelane/processor/native", "corelane/kernels/native"),
        native("corelane.kernels._native", "corelane/kernels/native"),
        native("corelane.scheduler._native", "corelane/scheduler/native"),
    ],
    cmdclass={"build_py": BuildWithDescriptors, "bdist_wheel": ManylinuxWheel},
    install_requires=CLIENT,
    extras_require={
        "server": SERVER,
        "tensorflow": TENSORFLOW,
        "onnxruntime": ONNXRUNTIME,
        "openvino": OPENVINO,
        "fused": without_repeats(TENSORFLOW, OPENVINO),
        "auth": AUTH,
        "traces": TRACES,
        "demo": without_repeats(DEMO),
        "all": without_repeats(DEMO, AUTH, TRACES),
        "plots": ["matplotlib>=3.8,<4"],  # bench.isolation --plot
        "dev": [
            "jsonschema>=4.23,<5",
            *without_repeats(AUTH, TRACES),
            "hypothesis>=6.100,<7",
            "kubernetes-validate>=1.30,<2",
            "mypy>=1.14,<3",
            "onnx>=1.17,<2",
            "pandas>=2.2,<4",
            "polars>=1.10,<3",
            "pytest>=8.3,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.7,<4",
            "ruff>=0.9,<1",
            "selenium>=4.20,<5",
            "types-PyYAML",
            "types-psutil",
            # `make wheels` and .ci/wheels.
            "build>=1.2,<2",
            # What Triton's client asks for. The client itself comes without dependencies: the Makefile says why.
            "geventhttpclient>=2.3,<3",
            "python-rapidjson>=1.10,<2",
        ],
    },
    entry_points={"console_scripts": ["corelane = corelane.__main__:main"]},
)
