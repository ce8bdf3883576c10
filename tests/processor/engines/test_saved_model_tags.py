"""Which of a SavedModel's graphs is loaded: the one with the tags asked for, by every way to serve it."""

from pathlib import Path

import numpy as np
import pytest

from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import LoadError
from corelane.processor.loading.choice import chosen_before
from corelane.processor.manifest import parse_manifest
from corelane.processor.manifest.text.dump import to_yaml
from corelane.processor.plans.fusing import compile_and_compare, kept_plan, plan_of
from tests.support.server import serving

X = np.float32([1, 2])


def answer(engine: str, folder: Path, tags: tuple[str, ...]) -> list[float]:
    loaded = load_engine(engine, folder, EngineOptions(saved_model_tags=tags))
    signature = loaded.signatures()["serving_default"]
    return loaded.run(loaded.make_session(), signature, {"x": X}, ["y"])["y"].tolist()


def test_tags_choose_the_graph(serving_models: Path) -> None:
    folder = serving_models / "tags/1"
    assert answer("tensorflow", folder, ("serve",)) == [2, 4]
    assert answer("tensorflow", folder, ("serve", "gpu")) == [20, 40]
    assert answer("tensorflow", folder, ("gpu", "serve")) == [20, 40]


@pytest.mark.parametrize("tags", [("gpu",), ("tpu", "serve"), ("serve", "gpu", "tpu")])
def test_unknown_tags_list_those_there_are(serving_models: Path, tags: tuple[str, ...]) -> None:
    with pytest.raises(LoadError) as caught:
        load_engine("tensorflow", serving_models / "tags/1", EngineOptions(saved_model_tags=tags))
    assert f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}" in str(caught.value)
    assert "The SavedModel has { serve } and { gpu serve }" in str(caught.value)


def test_a_plan_is_of_one_graph(serving_models: Path, tmp_path: Path) -> None:
    """Plans of other tags are others in the cache, and a plan's original is the graph that it was made of."""
    folder, tags = serving_models / "tagged_hash/1", ("serve", "gpu")
    assert kept_plan(folder, tmp_path, tags=tags) is None
    plain, _ = plan_of(folder, tmp_path)
    tagged, _ = plan_of(folder, tmp_path, tags=tags)
    assert plain != tagged
    assert kept_plan(folder, tmp_path, tags=tags) == tagged
    assert chosen_before(folder, "fused", tmp_path, (), tags) == ("fused", tagged)
    compile_and_compare(folder, tmp_path / "plan", tags=tags)
    words, numbers = np.array([[b"a"], [b"b"]], np.object_), np.ones((2, 3), np.float32)
    answers = []
    for engine, where in (("tensorflow", folder), ("fused", tmp_path / "plan")):
        # A plan knows its own tags.
        loaded = load_engine(
            engine, where, EngineOptions(saved_model_tags=tags if engine == "tensorflow" else ("serve",))
        )
        for x in (words, words[:, 0]):
            signature = loaded.signatures()["serving_default"]
            answers.append(loaded.run(loaded.make_session(), signature, {"x": x, "f": numbers}, ["y"])["y"])
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-5)


def test_the_manifest_carries_them(serving_models: Path, tmp_path: Path) -> None:
    manifest = parse_manifest("models: [{name: m, path: m, saved_model_tags: [serve, gpu]}]", source="m", base=tmp_path)
    assert manifest.models[0].saved_model_tags == ("gpu", "serve")
    assert parse_manifest(to_yaml(manifest), source="m", base=tmp_path) == manifest
    text = (
        f"models: [{{name: m, path: {serving_models / 'tags'}, saved_model_tags: [serve, gpu]}},"
        f" {{name: bad, path: {serving_models / 'tags'}, engine: tensorflow, saved_model_tags: [tpu]}}]"
    )
    with serving(tmp_path, text) as server, server.client() as client:
        np.testing.assert_array_equal(client.predict("m", {"x": X})["y"], X * 20)
        assert "The SavedModel has { serve } and { gpu serve }" in server.wait_state("bad", 1, "FAILED")["error"]
