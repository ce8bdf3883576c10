"""What a request costs, measured and kept."""

import json
from pathlib import Path

import pytest

from processor.engines import Engine, EngineOptions, load_engine
from processor.worker import profiling
from scheduler import Profile
from tests.support import onnx_models


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    return onnx_models.write_scale(tmp_path / "scale/1", 2)


def load(folder: Path, name: str = "openvino") -> Engine:
    return load_engine(name, folder, EngineOptions())


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_profile_is_measured_by_batch_size(scale: Path, name: str) -> None:
    found = profiling.profile(load(scale, name), scale, "fp32", 1, None)
    assert [rows for rows, _, _ in found.points] == [1, 10, 100]
    assert all(0 < ms < 50 for _, ms, _ in found.points)
    assert found.cost is not None
    assert (found.engine, found.precision, found.threads) == (name, "fp32", 1)


def test_larger_batches_cost_more(tensorflow_models: Path) -> None:
    folder = tensorflow_models / "tower/1"
    found = profiling.profile(load(folder, "tensorflow"), folder, "fp32", 1, None, batches=(1, 20_000))
    (_, small, _), (_, large, _) = found.points
    assert large > 2 * small


def test_it_is_kept_by_content(scale: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = profiling.profile(load(scale), scale, "fp32", 1, cache)
    (kept,) = (cache / "profiles").iterdir()
    kept.write_text(json.dumps({**first.to_json(), "points": [[1, 123.0, 0.5]]}))
    assert profiling.profile(load(scale), scale, "fp32", 1, cache).points == ((1, 123.0, 0.5),)
    key = profiling.key("openvino", scale, "fp32", 1)
    assert kept.stem == key
    others = [("onnxruntime", "fp32", 1), ("openvino", "bf16", 1), ("openvino", "fp32", 2)]
    assert len({key, *(profiling.key(engine, scale, *rest) for engine, *rest in others)}) == 4  # type: ignore[arg-type]
    copy = onnx_models.write_scale(tmp_path / "elsewhere/9", 2)
    assert profiling.key("openvino", copy, "fp32", 1) == key, "the place does not matter"
    other = onnx_models.write_scale(tmp_path / "other/9", 3)
    assert profiling.key("openvino", other, "fp32", 1) != key


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 0}', '{"schema": 1}', '{"schema": 1, "points": 3}'])
def test_a_damaged_profile_is_measured_anew(scale: Path, tmp_path: Path, text: str) -> None:
    kept = tmp_path / f"cache/profiles/{profiling.key('openvino', scale, 'fp32', 1)}.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    found = profiling.profile(load(scale), scale, "fp32", 1, tmp_path / "cache")
    assert len(found.points) == 3
    assert Profile.from_json(json.loads(kept.read_text())) == found


def test_a_cache_that_cannot_be_written_is_no_error(scale: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert profiling.profile(load(scale), scale, "fp32", 1, tmp_path / "file").points


def test_a_model_that_takes_nothing_made_up_has_no_profile(tensorflow_models: Path) -> None:
    folder = tensorflow_models / "picky/1"
    found = profiling.profile(load(folder, "tensorflow"), folder, "fp32", 1, None)
    assert found.points, "it takes zeros"
    assert Profile(engine="e", precision="fp32", threads=1, points=()).cost is None


def test_a_model_without_a_batch_is_measured_as_it_is(tmp_path: Path) -> None:
    folder = onnx_models.write_slow(tmp_path / "1")
    found = profiling.profile(load(folder, "onnxruntime"), folder, "fp32", 1, None)
    assert [rows for rows, _, _ in found.points] == [1]
