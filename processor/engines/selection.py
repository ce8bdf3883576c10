"""Which engine runs a version, and loading it."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from corelane.processor.engines.engine import Engine, EngineOptions
from corelane.processor.errors import EngineMissing, LoadError
from corelane.processor.loading.model_files import visible_files

PLAN = "plan.json"  # of a fused plan
# engine: (module that must be importable, our module, class)
_ENGINES = {
    "tensorflow": ("tensorflow", "corelane.processor.engines.tensorflow_engine", "TensorFlowEngine"),
    "onnxruntime": ("onnxruntime", "corelane.processor.engines.onnxruntime_engine", "OnnxRuntimeEngine"),
    "openvino": ("openvino", "corelane.processor.engines.openvino_engine", "OpenVinoEngine"),
    "fused": ("openvino", "corelane.processor.plans.fused_engine", "FusedEngine"),
}


def is_installed(engine: str) -> bool:
    return importlib.util.find_spec(_ENGINES[engine][0]) is not None


def choose_engine(folder: Path, engine: str = "auto", installed: Callable[[str], bool] = is_installed) -> str:
    """The engine for the version in `folder`: what the manifest wants, or what the files are made for.

    A fused plan goes to fused, a SavedModel to tensorflow, ONNX to onnxruntime (to openvino where only that is
    installed), OpenVINO IR to openvino. LoadError if the folder holds none of them."""
    if engine != "auto":
        return engine
    if (folder / PLAN).exists():
        return "fused"
    if (folder / "saved_model.pb").exists() or (folder / "saved_model.pbtxt").exists():
        return "tensorflow"
    if visible_files(folder, "*.onnx"):
        return "openvino" if installed("openvino") and not installed("onnxruntime") else "onnxruntime"
    if visible_files(folder, "*.xml"):
        return "openvino"
    raise LoadError(
        f"{folder} holds no model: expected saved_model.pb (TensorFlow), *.onnx, *.xml with *.bin (OpenVINO), "
        "or plan.json (`corelane compile`)"
    )


def load_engine(engine: str, folder: Path, options: EngineOptions) -> Engine:
    """Loads the version in `folder` in this process. EngineMissing names the extra to install."""
    needed, module, class_name = _ENGINES[engine]
    if not is_installed(engine):
        raise EngineMissing(engine)
    try:
        engine_class: type[Engine] = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise LoadError(f"engine {engine} is installed but {needed} cannot be imported: {error}") from error
    return engine_class.load(folder, options)


def the_only_file(folder: Path, pattern: str, content: str) -> Path:
    """The one visible file in `folder` that matches; `model.*` wins among several. LoadError otherwise."""
    files = visible_files(folder, pattern)
    if len(files) == 1:
        return files[0]
    preferred = [file for file in files if file.stem == "model"]
    if preferred:
        return preferred[0]
    if not files:
        raise LoadError(f"{folder} holds no {content}: expected a file {pattern}")
    raise LoadError(f"{folder} holds {len(files)} files {pattern}; keep one, or name one of them model{pattern[1:]}")
