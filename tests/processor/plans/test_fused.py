"""Engine `fused`: plans of SavedModels that libraries made answer as TensorFlow does, or are not made."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor.engines import EngineOptions, choose_engine, load_engine
from corelane.processor.errors import InvalidRequest, LoadError
from corelane.processor.loading.choice import chosen_before
from corelane.processor.plans import fusing
from corelane.processor.plans.equality import _difference, _run, compare
from corelane.processor.plans.fusing import compile_and_compare, plan_of
from corelane.processor.plans.store import KEPT
from corelane.processor.system.cache_files import MAKING, from_checked, to_checked
from corelane.processor.trials.draws import draw_example
from corelane.processor.trials.hints import Hints, hints_of
from tests.support.fused_models import KINDS
from tests.support.server import serving

# What is known not to be fused, and the op that keeps it from it.
NOT_FUSED = {"max_norm": "Mul", "weighted": "LogicalAnd"}
# What keeps its inputs for the dense part, too, and how many requests of those made up it does not refuse.
OTHERS = {"keras_sequence": 90, "int_features": 90, "strings_out": 90, "split_reduce_mean": 90, "examples": 15}


def compiled(models: Path, kind: str, out: Path, **options: Any) -> fusing.Result:
    return compile_and_compare(models / kind / "1", out, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column(fused_models: Path, tmp_path: Path, kind: str) -> None:
    """Compiling compares with the original on a hundred requests of every sort, and fails if they differ."""
    if kind in NOT_FUSED:
        with pytest.raises(LoadError, match=rf"no feature column was found: {NOT_FUSED[kind]} \("):
            compiled(fused_models, kind, tmp_path / "plan")
        assert not (tmp_path / "plan").exists()
        return
    result = compiled(fused_models, kind, tmp_path / "plan")
    assert result.equality.problem is None
    assert result.equality.accepted > OTHERS.get(kind, 90)
    for report in result.reports:
        if report.signature == "words":
            assert report.why_not is not None
            continue
        assert report.nodes_after < report.nodes_before
        assert kind in OTHERS or (
            report.columns >= 2 - (kind == "numeric"),
            report.blocked,
        ) == (True, {})


def test_tensorflow_behind_features(fused_models: Path, tmp_path: Path) -> None:
    """What OpenVINO cannot run stays TensorFlow's, with its vocabularies and without the tables."""
    result = compiled(fused_models, "strings_out", tmp_path / "plan")
    assert "strings are left to the dense part" in result.reports[0].why_tensorflow
    assert (tmp_path / "plan/dense-0/saved_model.pb").stat().st_size < 5000
    engine = load_engine("fused", tmp_path / "plan", EngineOptions())
    inputs = {"x": np.array([b"q", b""], np.object_), "f": np.array([b"V1", b"V3"], np.object_)}
    found = engine.run(engine.make_session(), engine.signatures()["serving_default"], inputs, ["joined", "ids"])
    assert found["ids"].tolist() == [0, 2]
    assert [text[:2] for text in found["joined"].tolist()] == [b"V1", b"V3"]


def test_damaged_examples(fused_models: Path, tmp_path: Path) -> None:
    """Examples with a byte changed, or cut: TensorFlow's parser says which of them are read, and as what."""
    compiled(fused_models, "examples", tmp_path / "plan")
    engines = [
        load_engine("tensorflow", fused_models / "examples/1", EngineOptions()),
        load_engine("fused", tmp_path / "plan", EngineOptions()),
    ]
    sessions = [engine.make_session() for engine in engines]
    source = np.random.default_rng(1)
    answered = 0
    for _ in range(1500):
        data = bytearray(draw_example(source, "plain", "none", hints_of(tmp_path / "plan")))
        place, how = source.integers(len(data)), source.integers(3)
        if how == 0:
            del data[place:]
        else:
            data[place] = source.integers(256) if how == 1 else (data[place] + source.integers(-3, 4)) % 256
        rows = np.empty(1, np.object_)
        rows[:] = [bytes(data)]
        found = [
            _run(engine, session, engine.signatures()["serving_default"], {"examples": rows})
            for engine, session in zip(engines, sessions, strict=True)
        ]
        assert not isinstance(_difference(*found, is_finite=False), str), bytes(data)
        answered += isinstance(found[0], dict)
    assert answered > 200


def test_a_plan_that_answers_otherwise_is_found_out(fused_models: Path, tmp_path: Path) -> None:
    compiled(fused_models, "hash", tmp_path / "plan")
    file = next((tmp_path / "plan/tables").iterdir())
    table = np.fromfile(file, np.float32)
    table[8 * 33] += 0.01  # of one row in fifty
    table.tofile(file)
    original = load_engine("tensorflow", fused_models / "hash/1", EngineOptions())
    plan = load_engine("fused", tmp_path / "plan", EngineOptions())
    found = compare(original, plan, tmp_path, Hints())
    assert found.problem is not None
    assert "output y is" in found.problem


@pytest.mark.parametrize("stop_after", [0, 5, 20, 60])
def test_fewer_rules_are_as_right(fused_models: Path, tmp_path: Path, stop_after: int) -> None:
    """Bisecting: a plan with fewer rules is no plan, or an equal one."""
    try:
        result = compiled(fused_models, "random_1", tmp_path / "plan", stop_after=stop_after)
    except LoadError as error:
        assert "differs" not in str(error)
    else:
        assert result.equality.problem is None


def test_nan_and_infinity_are_tensorflows(fused_models: Path, tmp_path: Path) -> None:
    """OpenVINO's dense layers make numbers of them; such requests go to the original, others do not."""
    compiled(fused_models, "hash", tmp_path / "plan")
    original = load_engine("tensorflow", fused_models / "hash/1", EngineOptions())
    plan = load_engine("fused", tmp_path / "plan", EngineOptions())
    signature = original.signatures()["serving_default"]
    session = plan.make_session()
    for values in ([1.0, 2.0, 3.0], [np.nan, 0.0, 1.0], [np.inf, 0.0, 1.0], [-np.inf, np.inf, 0.0], [1.0, 2.0, 3.0]):
        floats = np.array([values, [0.5, 0.5, 0.5]], np.float32)
        inputs = {"x": np.array([[b"v1"], [b""]], np.object_), "floats": floats}
        expected = original.run(original.make_session(), signature, inputs, ["y"])["y"]
        answer = plan.run(session, plan.signatures()["serving_default"], inputs, ["y"])["y"]
        assert np.allclose(answer, expected, rtol=1e-5, equal_nan=True)
        assert np.isfinite(values).all() or (answer == expected)[np.isfinite(expected)].all(), "by the same engine"


def test_signatures_that_are_not_fused_are_tensorflows(fused_models: Path, tmp_path: Path) -> None:
    compiled(fused_models, "two_signatures", tmp_path / "plan")
    engine = load_engine("fused", tmp_path / "plan", EngineOptions())
    inputs = {"x": np.array([[b"ab"], [b""]], np.object_)}
    for _ in range(2):
        found = engine.run(engine.make_session(), engine.signatures()["words"], inputs, ["upper"])
        assert found["upper"].tolist() == [[b"AB"], [b""]]
    inputs["floats"] = np.zeros((2, 3), np.float32)
    assert engine.run(engine.make_session(), engine.signatures()["serving_default"], inputs, ["y"])["y"].shape == (2, 4)


def test_equal_tables_are_one_file(fused_models: Path, tmp_path: Path) -> None:
    compiled(fused_models, "shared", tmp_path / "plan")
    made_of = json.loads((tmp_path / "plan/plan.json").read_text())["made_of"]
    assert {"openvino", "graph"} <= made_of.keys()
    assert len(list((tmp_path / "plan/tables").iterdir())) == 1


def test_bad_values_are_refused(fused_models: Path, tmp_path: Path) -> None:
    compiled(fused_models, "identity", tmp_path / "plan")
    engine = load_engine("fused", tmp_path / "plan", EngineOptions())
    signature = engine.signatures()["serving_default"]
    session = engine.make_session()

    def run(x: list[int], rows: int) -> dict[str, np.ndarray]:
        inputs = {"x": np.array(x, np.int64)[:, None], "floats": np.zeros((rows, 3), np.float32)}
        return engine.run(session, signature, inputs, ["y"])

    assert run([1, 2], 2)["y"].shape == (2, 4)
    with pytest.raises(InvalidRequest, match=r"is not in \[0, 10\)"):
        run([1, 10], 2)
    with pytest.raises(InvalidRequest, match="ConcatOp : Dimension"):  # the original's words
        run([1, 2], 1)
    assert run([], 0)["y"].shape == (0, 4)
    assert run([3], 1)["y"].shape == (1, 4)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"schema": 99}, "a fused plan of schema 99; compile it again"),
        ({"signatures": [{"program": {}}]}, "a damaged fused plan"),
    ],
)
def test_damaged_plans_are_load_errors(
    fused_models: Path, tmp_path: Path, damage: dict[str, Any], problem: str
) -> None:
    compiled(fused_models, "hash", tmp_path / "plan")
    path = tmp_path / "plan/plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(LoadError, match=problem):
        load_engine("fused", tmp_path / "plan", EngineOptions())
    path.write_text("{")
    with pytest.raises(LoadError, match="holds no fused plan"):
        load_engine("fused", tmp_path / "plan", EngineOptions())


def test_plans_are_kept_by_content(fused_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, found = plan_of(fused_models / "hash/1", tmp_path)
    assert choose_engine(plan) == "fused"
    assert "2 columns fused; equal to TensorFlow on" in found
    with pytest.raises(LoadError, match="no feature column was found"):
        plan_of(fused_models / "max_norm/1", tmp_path)
    monkeypatch.setattr(fusing, "_compile_apart", lambda *_: pytest.fail("it is there already"))
    copy = tmp_path / "copy"
    shutil.copytree(fused_models / "hash/1", copy)
    assert plan_of(copy, tmp_path) == (plan, found)
    with pytest.raises(LoadError, match="no feature column was found"):
        plan_of(fused_models / "max_norm/1", tmp_path)


def test_auto_takes_no_plan_that_costs_more(fused_models: Path, tmp_path: Path) -> None:
    folder = fused_models / "hash/1"
    plan, found = plan_of(folder, tmp_path, must_gain=True)
    assert "x as fast" in found
    assert chosen_before(folder, "auto", tmp_path) == ("fused", plan)
    kept = from_checked((plan / KEPT).read_bytes())
    for cost in kept["outcome"]["costs"]:
        cost["original_ms"] = cost["other_ms"] / 2
    (plan / KEPT).write_bytes(to_checked(kept))
    with pytest.raises(LoadError, match=r"costs 2.00 times what TensorFlow does; engine: fused takes it"):
        plan_of(folder, tmp_path, must_gain=True)
    assert chosen_before(folder, "auto", tmp_path) == ("tensorflow", folder)
    assert chosen_before(folder, "fused", tmp_path) == ("fused", plan)


def test_compiling_may_take_too_long(fused_models: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="takes longer than 0 s"):
        plan_of(fused_models / "hash/1", tmp_path, limit_s=0.3)
    assert list(tmp_path.rglob("*")) == [tmp_path / MAKING], "nothing is left, and nothing is kept"


def test_served(fused_models: Path, tmp_path: Path) -> None:
    """A SavedModel compiled at its load, and one that cannot be."""
    manifest = (
        f"models: [{{name: good, path: {fused_models / 'split_safe'}, engine: fused, slo_p99_ms: 50}},"
        f" {{name: bad, path: {fused_models / 'max_norm'}, engine: fused}}]"
    )
    with serving(tmp_path, manifest) as server:
        good = server.wait_state("good", 1, "AVAILABLE")
        assert good["engine"] == "fused"
        assert "2 columns fused" in good["engine_why"]
        bad = server.wait_state("bad", 1, "FAILED")
        assert "is not fused: signature serving_default" in bad["error"]
        x = np.array([b"a;b", b"", b"v1;v1;v2"], np.object_)
        inputs = {"x": x, "f": np.ones((3, 3), np.float32)}
        found = server.client().predict("good", inputs)["y"]
        original = load_engine("tensorflow", fused_models / "split_safe/1", EngineOptions())
        expected = original.run(original.make_session(), original.signatures()["serving_default"], inputs, ["y"])["y"]
        assert np.allclose(found, expected, rtol=1e-5)


def test_compile_command(fused_models: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "corelane", "compile", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    plan = tmp_path / "plans/1"
    done = run(fused_models / "numeric", plan, "--explain")
    assert done.returncode == 0, done.stderr
    for text in ("columns fused", "hash bucket", "equal to the original within", "speed-up", "written in"):
        assert text in done.stdout
    for arguments, problem in (
        ((fused_models / "numeric", plan), "is there already"),
        ((plan, tmp_path / "again"), "only SavedModels are compiled"),
        ((fused_models / "max_norm", tmp_path / "not"), "is not fused"),
    ):
        failed = run(*arguments)
        assert (failed.returncode, problem in failed.stderr) == (1, True), failed.stderr
    found = json.loads(run(fused_models / "hash", tmp_path / "other", "--json").stdout)
    assert found["signatures"][0]["columns"] == 2
    assert {row["rows"] for row in found["costs"]} == {1, 10, 100}


def test_auto(fused_models: Path, tensorflow_models: Path, tmp_path: Path) -> None:
    """A SavedModel is fused if it can be, in a process that started over without TensorFlow's allocator."""
    manifest = (
        f"models: [{{name: fused, path: {fused_models / 'hash'}}}, {{name: plain, path: {tensorflow_models / 'tf2'}}}]"
    )
    with serving(tmp_path, manifest) as server:
        fused, plain = (server.wait_state(name, 1, "AVAILABLE") for name in ("fused", "plain"))
        assert (fused["engine"], plain["engine"]) == ("fused", "tensorflow")
        assert "is not fused: signature" in plain["engine_why"]
        environment = Path(f"/proc/{fused['pid']}/environ").read_bytes()
        assert b"tbbmalloc" not in environment
        inputs = {"x": np.array([[b"v1"], [b""]], np.object_), "floats": np.ones((2, 3), np.float32)}
        assert server.client().predict("fused", inputs)["y"].shape == (2, 4)


def test_profile_and_plan_know_the_choice(fused_models: Path, tmp_path: Path) -> None:
    """What the server would choose, the commands choose, too."""
    environment = {**os.environ, "CORELANE_CACHE": str(tmp_path / "cache")}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "corelane", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"models: [{{name: hash, path: {fused_models / 'hash'}}}]")
    assert "was never profiled" in run("plan", manifest, "--cores", 8).stderr
    profiled = run("profile", fused_models / "hash", "--json")
    assert profiled.returncode == 0, profiled.stderr
    assert json.loads(profiled.stdout)["engine"] == "fused"
    planned = run("plan", manifest, "--cores", 8)
    assert planned.returncode == 0, planned.stderr
