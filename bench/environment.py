"""The header of every bench: on what it ran."""

import platform
from importlib import metadata
from pathlib import Path

from corelane.kernels import instruction_sets
from corelane.scheduler import read_host

_PACKAGES = ("tensorflow-cpu", "onnxruntime", "openvino", "grpcio")


def describe() -> dict[str, str]:
    host = read_host()
    name = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "processor": name,
        "cores": f"{host.cores} ({host.describe()})",
        "instruction sets": " ".join(instruction_sets()) or "none",
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


def header() -> str:
    return "\n".join(f"{name:<17} {value}" for name, value in describe().items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
