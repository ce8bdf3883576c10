"""What a request costs, measured and kept."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from corelane.processor.engines import Engine, EngineOptions, load_engine
from corelane.processor.loading import profiling
from corelane.processor.system.cache_files import from_checked, to_checked
from corelane.scheduler import Profile
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


def kept_profile(scale: Path, cache: Path) -> Profile:
    """As a worker reads it, or measures and keeps it."""
    with contextlib.closing(profiling.ProfileFile.open(cache, "openvino", scale, 1)) as kept:
        return profiling.profile(load(scale), scale, "fp32", 1, kept)


def test_it_is_kept_by_content(scale: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = kept_profile(scale, cache)
    (kept,) = (cache / "profiles").iterdir()
    kept.write_bytes(to_checked({"fp32": {**first.to_json(), "points": [[1, 123.0, 0.5]]}}))
    assert kept_profile(scale, cache).points == ((1, 123.0, 0.5),)
    with contextlib.closing(profiling.ProfileFile.open(cache, "openvino", scale, 1)) as file:
        assert file.read("bf16") is None
        file.write(replace(first, precision="bf16"))
        assert file.read("bf16") is not None
    assert kept_profile(scale, cache).points == ((1, 123.0, 0.5),), "one precision leaves the other where it is"
    key = profiling.key("openvino", scale, 1)
    assert kept.stem == key
    others = [("onnxruntime", 1), ("openvino", 2)]
    assert len({key, *(profiling.key(engine, scale, threads) for engine, threads in others)}) == 3
    copy = onnx_models.write_scale(tmp_path / "elsewhere/9", 2)
    assert profiling.key("openvino", copy, 1) == key, "the place does not matter"
    other = onnx_models.write_scale(tmp_path / "other/9", 3)
    assert profiling.key("openvino", other, 1) != key


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        to_checked({"fp32": {"schema": 1, "points": []}})[:-3],
        *map(to_checked, ([], {"fp32": {"schema": 0}}, {"fp32": {"schema": 1}}, {"fp32": {"schema": 1, "points": 3}})),
    ],
)
def test_a_damaged_profile_is_measured_anew(scale: Path, tmp_path: Path, data: bytes) -> None:
    kept = tmp_path / f"cache/profiles/{profiling.key('openvino', scale, 1)}.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(data)
    found = kept_profile(scale, tmp_path / "cache")
    assert len(found.points) == 3
    assert Profile.from_json(from_checked(kept.read_bytes())["fp32"]) == found


def test_a_cache_that_cannot_be_written_is_no_error(
    scale: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert kept_profile(scale, tmp_path / "file").points
    assert "profiles cannot be kept in" in caplog.text
    assert "set CORELANE_CACHE to a folder that can be written" in caplog.text


def test_a_model_that_takes_nothing_made_up_has_no_profile(tensorflow_models: Path) -> None:
    folder = tensorflow_models / "picky/1"
    found = profiling.profile(load(folder, "tensorflow"), folder, "fp32", 1, None)
    assert found.points, "it takes zeros"
    assert Profile(engine="e", precision="fp32", threads=1, points=()).cost is None


def test_a_model_without_a_batch_is_measured_as_it_is(tmp_path: Path) -> None:
    folder = onnx_models.write_slow(tmp_path / "1")
    found = profiling.profile(load(folder, "onnxruntime"), folder, "fp32", 1, None)
    assert [rows for rows, _, _ in found.points] == [1]
