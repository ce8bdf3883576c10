"""The models that chaos serves. Each answer tells by its value what gave it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from corelane.processor.engines import EngineOptions, load_engine
from tests.support import onnx_models

FUSED_KIND = "vocabulary_oov"
_WORDS = [b"v1", b"v2", b"v3", b"v10", b"a", b"", b"-1", b"7", b"unknown", b"\xff"]

MANIFEST = """\
models:
  - name: split
    path: split
    sticky_key: user-id
    queue: {timeout_ms: 20000}
    request_log: {folder: logs/split, percent: 20, bytes_max: 4194304}
    versions:
      - {version: 1, label: stable, traffic: 90}
      - {version: 2, role: ab, label: canary, traffic: 10}
      - {version: 3, role: ab, shadow: 20}
  - {name: ads, path: ads, engine: fused, batching: {max_rows: 64}, queue: {timeout_ms: 20000}}
  - {name: latest, path: latest, queue: {timeout_ms: 20000}}
  - {name: linked, path: linked, queue: {timeout_ms: 20000}}
"""
OTHER = "  - {name: other, path: split, versions: [{version: 1, role: ab}], queue: {timeout_ms: 20000}}\n"
# By the name in its folder, the factor of each content that `linked/1` may lead to.
LINKED = {"content_a": 17.0, "content_b": 19.0}


def write(folder: Path) -> None:
    """split/{1,2,3} and latest/1 multiply by their version, linked/1 by its content's factor; ads/1 is a SavedModel
    with a feature column and a dense layer; spare/2 is a SavedModel that nobody serves yet."""
    for version in (1, 2, 3):
        onnx_models.write_scale(folder / f"split/{version}", version)
    onnx_models.write_scale(folder / "latest/1", 1)
    for name, factor in LINKED.items():
        onnx_models.write_scale(folder / name, factor)
    (folder / "linked").mkdir()
    (folder / "linked/1").symlink_to(folder / "content_a")
    made = folder / "made"
    subprocess.run(
        [sys.executable, "-m", "tests.support.fused_models", str(made), FUSED_KIND],
        check=True,
        capture_output=True,
        timeout=300,
    )
    shutil.copytree(made / FUSED_KIND / "1", folder / "ads/1")


class Ads:
    """The fused model's requests, and what TensorFlow, unfused, answers to each."""

    def __init__(self, folder: Path, seed: int, count: int = 32) -> None:
        engine = load_engine("tensorflow", folder / "ads/1", EngineOptions())
        signature, session = engine.signatures()["serving_default"], engine.make_session()
        source = np.random.default_rng(seed)
        self.requests: list[dict[str, np.ndarray]] = []
        self.answers: list[dict[str, np.ndarray]] = []
        for _ in range(count):
            rows = int(source.integers(1, 9))
            inputs = {}
            for name, spec in signature.inputs.items():
                shape = [rows, *(spec.shape or (1, 1))[1:]]
                if spec.dtype == "DT_STRING":
                    inputs[name] = np.array(source.choice(np.array(_WORDS, object), shape), object)
                else:
                    inputs[name] = source.normal(size=shape).astype(np.float32)
            self.requests.append(inputs)
            self.answers.append(engine.run(session, signature, inputs, list(signature.outputs)))
        engine.unload()
