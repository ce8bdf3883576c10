"""OpenVINO's C API in its wheel, found without importing OpenVINO's Python."""

import importlib.util
from pathlib import Path

from corelane.processor.engines.engine import EngineOptions
from corelane.processor.errors import EngineMissing, LoadError

# Entries of what OpenVINO keeps for each op and shape that it ran with, least recently used first to go. Its default,
# 5000, grew a fused plan of 200 columns by 170 MiB over 750 batch sizes.
RUNTIME_CACHE_CAPACITY = 1024


def library() -> Path:
    """LoadError if this OpenVINO has no C API, EngineMissing if there is none at all."""
    spec = importlib.util.find_spec("openvino")
    if spec is None or spec.submodule_search_locations is None:
        raise EngineMissing("openvino")
    folder = Path(spec.submodule_search_locations[0]) / "libs"
    libraries = sorted(folder.glob("libopenvino_c.so*"))
    if not libraries:
        raise LoadError(f"this OpenVINO has no C API: {folder}/libopenvino_c.so is missing; reinstall openvino")
    return libraries[0]


def properties_of(options: EngineOptions) -> dict[str, str]:
    """The CPU plugin's, for a version's sessions. In fp32 nothing is computed in less: neither weights that a model has
    compressed, whose products it quantizes by default, nor the caches of attention."""
    is_bf16 = options.precision == "bf16"
    # A single stream of one thread hides errors of its runs (`openvino_model.h`).
    streams = max(2, options.sessions)
    return {
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams * options.threads_per_session),
        "CPU_RUNTIME_CACHE_CAPACITY": str(RUNTIME_CACHE_CAPACITY),
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_PRECISION_HINT": "bf16" if is_bf16 else "f32",
        "EXECUTION_MODE_HINT": "PERFORMANCE" if is_bf16 else "ACCURACY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        "KV_CACHE_PRECISION": "bf16" if is_bf16 else "f32",
    }
