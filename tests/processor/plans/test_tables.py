"""The store of embedding tables: shared by content, kept in fewer bits, and still the same answers."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.kernels._native import gather_rows
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import LoadError
from corelane.processor.loading.precision import load_in_precision
from corelane.processor.manifest import DivergenceSettings
from corelane.processor.plans.fusing import plan_of
from corelane.processor.plans.store import KEPT
from corelane.processor.plans.tables import TABLES, TableStore, bf16_rows, int8_rows

FLOATS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=24, max_size=24).map(
    lambda found: np.array(found, np.float32).reshape(3, 8)
)


def read_back(kind: str, rows: np.ndarray) -> np.ndarray:
    """Rows as the kernels read them."""
    data = {"bf16": bf16_rows, "int8": int8_rows}[kind](rows).tobytes()
    return gather_rows("scalar", kind, data, rows.shape[1], list(range(len(rows))))


@settings(max_examples=200, deadline=None)
@given(rows=FLOATS)
def test_rows_in_fewer_bits(rows: np.ndarray) -> None:
    assert np.all(np.abs(read_back("bf16", rows) - rows) <= np.abs(rows) * 2**-8 + 2.0**-126)
    step = (rows.max(1, keepdims=True).astype(np.float64) - rows.min(1, keepdims=True)) / 255
    scale = np.abs(rows).max(1, keepdims=True)
    assert np.all(np.abs(read_back("int8", rows) - rows) <= step * 0.51 + scale * 1e-6 + 2.0**-126)


def test_numbers_that_are_none() -> None:
    rows = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 1e-40, 1.0]], np.float32)
    found = read_back("bf16", rows)
    assert np.array_equal(np.isnan(found), np.isnan(rows))
    assert found[0, 1:3].tolist() == [np.inf, -np.inf]


def test_plans_share_equal_tables(fused_models: Path, tmp_path: Path) -> None:
    """Two models whose tables are equal: "two_signatures" has the columns of "hash"."""
    plans = [plan_of(fused_models / kind / "1", tmp_path)[0] for kind in ("hash", "two_signatures", "hash_sum")]
    files = [{file.name: file.stat().st_ino for file in (plan / "tables").iterdir()} for plan in plans]
    assert files[0] == files[1]
    assert not set(files[0]) & set(files[2])
    store = tmp_path / TABLES
    assert {file.name for file in store.iterdir()} == {*files[0], *files[2]}
    for file in (plans[2] / "tables").iterdir():
        file.unlink()
    TableStore(store).adopt([])
    assert {file.name for file in store.iterdir()} == set(files[0]), "what no plan has is gone"


def test_plans_that_nobody_loads_go(fused_models: Path, tmp_path: Path) -> None:
    old, _ = plan_of(fused_models / "hash/1", tmp_path)
    used, _ = plan_of(fused_models / "hash_sum/1", tmp_path)
    for plan in (old, used):
        os.utime(plan / KEPT, (0, 0))
    assert plan_of(fused_models / "hash_sum/1", tmp_path)[0] == used
    new, _ = plan_of(fused_models / "hash_sqrtn/1", tmp_path)
    assert {path for path in (tmp_path / "fused").iterdir() if path.is_dir()} == {used, new}
    assert len(list((tmp_path / TABLES).iterdir())) == 2


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_converted_once(fused_models: Path, tmp_path: Path, precision: str) -> None:
    plan, _ = plan_of(fused_models / "hash/1", tmp_path)
    inputs = {"x": np.array([[b"v1"], [b"v2"], [b""]], np.object_), "floats": np.zeros((3, 3), np.float32)}
    answers = []
    for kind in ("fp32", precision, precision):
        tables = TableStore(tmp_path / TABLES).converted(plan, kind)
        assert len(tables) == (kind != "fp32")
        chosen = EngineOptions(precision=kind, tables=tables)
        engine = load_engine("fused", plan, chosen)
        signature = engine.signatures()["serving_default"]
        answers.append(engine.run(engine.make_session(), signature, inputs, ["y"])["y"])
        stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / TABLES).glob(f"*.{precision}")}
    assert len(stamps) == 1
    assert np.array_equal(answers[1], answers[2])
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.02


def test_int8_is_for_tables_only(tensorflow_models: Path) -> None:
    with pytest.raises(LoadError, match="int8 is for the tables of fused plans, and this version runs on tensorflow"):
        load_in_precision(
            "tensorflow", tensorflow_models / "tf2/1", EngineOptions(precision="int8"), DivergenceSettings(), 1 << 20
        )


def test_int8_is_what_the_manifest_says(fused_models: Path, tmp_path: Path) -> None:
    plan, _ = plan_of(fused_models / "hash/1", tmp_path)
    engine, precision = load_in_precision("fused", plan, EngineOptions(precision="int8"), DivergenceSettings(), 1 << 20)
    assert (precision.name, engine.name) == ("int8", "fused")
    assert list((tmp_path / TABLES).glob("*.int8")) == [], "without a store they are the engine's own"
