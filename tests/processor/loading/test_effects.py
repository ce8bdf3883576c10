"""Nobody but a client runs a signature that changes state."""

import json
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import LoadError
from corelane.processor.loading.precision import load_in_precision
from corelane.processor.loading.profiling import profile
from corelane.processor.loading.warm_up import warm_up
from corelane.processor.manifest import DivergenceSettings
from corelane.processor.plans.fusing import compile_and_compare
from corelane.processor.trials import samples
from tests.support.server import serving

EFFECTS = {
    "hidden": "AssignAddVariableOp",
    "inplace": "InplaceAdd",
    "read": "",
    "write_all": "ResourceStridedSliceAssign",
    "write_each": "ResourceScatterNdUpdate",
    "next": "AssignAddVariableOp",
    "noise": "RngReadAndSkip",
    "put": "LookupTableInsertV2",
    "save": "WriteFile",
    "score": "",
    "seeded": "RandomUniform",
    "train": "AssignVariableOp",
    "unseeded": "",
}


def test_effects_are_read_off_the_graph(batching_models: Path) -> None:
    engine = load_engine("tensorflow", batching_models / "effects/1", EngineOptions())
    assert {name: (one.effect.split() or ["", ""])[1] for name, one in engine.signatures().items()} == EFFECTS


@pytest.mark.parametrize(
    ("model", "effect"),
    [("tf2", ""), ("tower", ""), ("keras", ""), ("branches", ""), ("keeper", "Assign"), ("table", "LookupTableInsert")],
)
def test_models_of_all_kinds(tensorflow_models: Path, model: str, effect: str) -> None:
    """A lookup in a table that was filled at the load is no effect, nor are branches and loops."""
    engine = load_engine("tensorflow", tensorflow_models / model / "1", EngineOptions())
    for signature in engine.signatures().values():
        assert (effect in signature.effect) if effect else signature.effect == ""


def test_a_load_leaves_no_trace(batching_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening, warming up, profiling, and trying precisions, each run by itself here: the state is as it was saved."""
    monkeypatch.chdir(tmp_path)
    folder = batching_models / "effects/1"
    monkeypatch.setattr("corelane.processor.loading.precision.has_bf16", lambda isa: True)
    engine, precision = load_in_precision(
        "tensorflow", folder, EngineOptions(precision="auto"), DivergenceSettings(), 1 << 20
    )
    assert (precision.name, "is not one to try" in precision.why) == ("fp32", True)
    sessions = [engine.make_session() for _ in range(3)]
    warm_up(engine, sessions, folder, 1 << 20)
    profile(engine, folder, "fp32", 1, None)
    for signature in engine.signatures().values():
        samples.first_taken(engine, signature, samples.made_up(signature))
    assert _call(engine, "next") == 1
    assert _call(engine, "train", v=np.array([6], np.float32)) == 2.0
    assert _call(engine, "score", v=np.array([1], np.float32)) == 6.0
    assert _call(engine, "put", i=np.array([5, 6], np.int64)) == 2
    fresh = load_engine("tensorflow", folder, EngineOptions())
    for random in ("noise", "seeded"):
        some = np.zeros(1, np.float32)
        assert _call(engine, random, v=some) == _call(fresh, random, v=some)
    assert list(tmp_path.iterdir()) == []


def test_what_others_change_is_not_fused(batching_models: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="signature learn changes what others may look at: op AssignAddVariableOp"):
        compile_and_compare(batching_models / "learning/1", tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []


def test_the_first_client_is_the_first(batching_models: Path, tmp_path: Path) -> None:
    """Over the wire, with several sessions, and again from a cache that knows the version."""
    manifest = (
        f"models:\n- {{name: effects, path: {batching_models / 'effects'}, sessions: 3}}\n"
        f"- {{name: learning, path: {batching_models / 'learning'}}}"
    )
    for _ in range(2):
        with serving(tmp_path, manifest) as server, server.client() as client:
            assert client.predict("effects", {}, signature="next")["count"] == 1
            before = client.predict("effects", {"v": [6.0]}, signature="train")
            assert before["before"] == 2.0
            assert client.predict("effects", {"v": [1.0]}, signature="score")["y"] == [6.0]
            assert client.predict("effects", {"i": [1, 2, 3]}, signature="put")["size"] == 3
            assert client.predict("learning", {"word": ["a"]})["y"].tolist() == [[0, 0]]
            assert client.predict("learning", {"step": 2.0}, signature="learn")["sum"] == 400
            assert client.predict("learning", {"word": ["a"]})["y"].tolist() == [[8, 8]]
            learning = server.version("learning", 1)
            assert learning["engine"] == "tensorflow"
            assert "learn changes" in json.dumps(learning)


@pytest.mark.parametrize("name", ["write_each", "write_all"])
def test_strings_that_a_model_keeps_are_its_own(batching_models: Path, name: str) -> None:
    """Not views of a request whose bytes are gone, or are another client's by now."""
    engine = load_engine("tensorflow", batching_models / "effects/1", EngineOptions())
    session, signatures = engine.make_session(), engine.signatures()
    kept = np.array([b"A" * 60, b"B" * 70, b"short", b"C" * 80], object)
    engine.run(session, signatures[name], {"s": kept}, ["y"])
    for number in range(50):
        # What the first request's bytes may have become.
        np.full(1000, number, np.uint8).tobytes()
        engine.run(session, signatures["score"], {"v": np.full(100, number, np.float32)}, ["y"])
    words = engine.run(session, signatures["read"], {}, ["words"])["words"]
    assert words.tolist() == kept.tolist()


def _call(engine: object, name: str, **inputs: np.ndarray) -> object:
    signature = engine.signatures()[name]  # type: ignore[attr-defined]
    (output,) = engine.run(engine.make_session(), signature, inputs, list(signature.outputs)).values()  # type: ignore[attr-defined]
    return output.item()
