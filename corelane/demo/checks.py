"""Served scores against the engine's own."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corelane.demo.clicks import Clicks, auc
from corelane.demo.traffic import inputs_of
from corelane.processor.engines import EngineOptions, choose_engine, load_engine
from corelane.processor.manifest import Manifest
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE

# In the same precision. A fused plan sums in another order; bf16 rounds other numbers in a plan than in the graph (a
# score moves by a few of its 2^-9 steps), int8 rows are rounded to 255 steps.
_TOLERANCES = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.02}
# AUC says whether scores in another precision still rank.
_AUC_TOLERANCE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The largest difference of a version's served scores from its engine's own in the same precision, and what is
    wrong with them; empty if nothing is."""

    difference: float
    problem: str


def check(manifest: Manifest, model: str, version: int, rows: Clicks, scores: np.ndarray, precision: str) -> Check:
    """Runs the rows on the version's engine in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings = manifest.model(model)
    assert settings is not None
    folder = settings.path / str(version)
    own = _engine_scores(choose_engine(folder, settings.engine), folder, inputs_of(model, rows), precision)
    return judge(f"{model}/{version}", scores, own, rows.labels, precision)


def _engine_scores(engine_name: str, folder: Path, inputs: dict[str, np.ndarray], precision: str) -> np.ndarray:
    # Rows of int8 are a fused plan's alone: the engine's own scores are then in fp32.
    options = EngineOptions(precision="fp32" if precision == "int8" else precision)
    engine = load_engine(engine_name, folder, options)
    try:
        return engine.run(engine.make_session(), engine.signatures()[DEFAULT_SIGNATURE], inputs, ["score"])["score"]
    finally:
        engine.unload()


def judge(name: str, scores: np.ndarray, own: np.ndarray, labels: np.ndarray, precision: str) -> Check:
    """Whether served scores are those of the engine, as far as the precision goes."""
    if scores.shape != own.shape or not np.isfinite(scores).all():
        return Check(difference=float("inf"), problem=f"{name} answered {scores.shape} with {own.shape} expected")
    difference = float(np.abs(own - scores).max())
    problem = ""
    if difference > _TOLERANCES[precision]:
        problem = f"{name} answered {difference:.2g} away from its engine ({precision}: {_TOLERANCES[precision]:g})"
    elif abs(auc(labels, scores) - auc(labels, own)) > _AUC_TOLERANCE:
        problem = f"{name} ranks otherwise than its engine: AUC {auc(labels, scores):.4f} for {auc(labels, own):.4f}"
    return Check(difference=difference, problem=problem)


@contextlib.contextmanager
def stderr_into(log: Path) -> Iterator[None]:
    """Sends what native code writes to standard error to the end of a file: TensorFlow greets on it."""
    saved = os.dup(2)
    with log.open("a") as target:
        os.dup2(target.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
