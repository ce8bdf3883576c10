"""Models that several benches serve, made once and kept in `build/`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from corelane.demo.clicks import Clicks, generate
from corelane.processor.plans.fusing import compile_and_compare

_CACHE = Path("build/bench-models")
_DEMO = _CACHE / "demo"
_DEMO_VERSIONS = {"wide and deep": "ctr/2", "deepfm": "ctr/3", "din": "ctr/4", "dlrm": "ctr_dlrm/1", "dcn": "ctr_dcn/1"}


def models(*names: str) -> Path:
    """The folder of `bench.models`, where those of these names are made if they are not there."""
    missing = [name for name in names if not (_CACHE / name / "1").exists()]
    if missing:
        _say(f"making {', '.join(missing)} (up to a minute, once) ...")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "bench.models", str(_CACHE), *missing]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    return _CACHE.resolve()


def demo_models() -> dict[str, Path]:
    """Version folders of the demo's models: three of TensorFlow, then one of ONNX and one of OpenVINO."""
    folders = {name: _DEMO / version for name, version in _DEMO_VERSIONS.items()}
    if not all(folder.is_dir() for folder in folders.values()):
        _say("training the demo's models (about a minute, once) ...")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "corelane.demo.train", str(_DEMO)]
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    return folders


def recom_model(name: str) -> Path:
    """The version's folder of a model of `bench.recom`."""
    folder = _CACHE / name / "1"
    if not folder.is_dir():
        _say(f"making {name} (some minutes, once) ...")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "bench.recom", str(_CACHE), name]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    return folder.resolve()


def outside_models(package: str) -> list[Path]:
    """The versions' folders of the models of a package of `bench.outside_models`."""
    root = _CACHE / "outside"
    if not list(root.glob(f"{package}-*")):
        _say(f"building models with {package} (a minute, once) ...")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if package != "keras":
            environment["TF_USE_LEGACY_KERAS"] = "1"
        command = [sys.executable, "-m", "bench.outside_models", str(root), package]
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    return sorted(root.resolve().glob(f"{package}-*/1"))


def plan(name: str, folder: Path) -> tuple[Path, float]:
    """The fused plan of the SavedModel in `folder`, and the seconds that it took to make and to compare it. LoadError
    if there is none."""
    plans = (_CACHE / "plans").resolve()
    plans.mkdir(parents=True, exist_ok=True)
    found = plans / name.replace(" ", "-")
    told = found.with_suffix(".json")
    if not found.is_dir():
        _say(f"compiling {name} ...")
        began_s = time.perf_counter()
        compile_and_compare(folder, found)
        told.write_text(json.dumps({"seconds": time.perf_counter() - began_s}))
    return found, json.loads(told.read_text())["seconds"]


def demo_clicks(rows: int) -> Clicks:
    """Rows that the demo's models never saw in training."""
    return generate(rows, seed=1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
