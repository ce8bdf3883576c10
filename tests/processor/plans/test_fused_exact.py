"""What a plan leaves to OpenVINO it computes as TensorFlow does: every op here, every type, extreme values.

Plans are compiled and not compared, so that nothing but the proof decides what OpenVINO is given.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.engine import Engine
from corelane.processor.errors import RequestError
from corelane.processor.plans.compiler import SignatureReport, compile_saved_model
from tests.processor.engines.test_openvino_exact import differs, extremes

TYPES = ("uint8", "int32", "int64", "float32", "float64")
# Ops that OpenVINO is given, of a type: integers are moved, or are in range because the program knows it.
OPENVINO = {
    "int32": {"equal", "floats", "moved", "one_hot", "reversed", "to_int64"},
    "int64": {"equal", "floats"},
    "float32": {"apart", "total"},
}


def compiled(models: Path, kind: str, out: Path) -> tuple[Engine, Engine, dict[str, SignatureReport]]:
    """TensorFlow's engine, the plan's, and what was done for each signature."""
    reports = compile_saved_model(models / kind / "1", out)
    original = load_engine("tensorflow", models / kind / "1", EngineOptions())
    return original, load_engine("fused", out, EngineOptions()), {report.signature: report for report in reports}


def answers(engine: Engine, name: str, requests: list[dict[str, np.ndarray]]) -> Iterator[np.ndarray | None]:
    """y of each request; None if its values are refused."""
    session, signature = engine.make_session(), engine.signatures()[name]
    for inputs in requests:
        try:
            yield engine.run(session, signature, inputs, ["y"])["y"]
        except RequestError:
            yield None


def beside(x: np.ndarray) -> dict[str, np.ndarray]:
    words = np.empty(len(x), object)
    words[:] = [b"%d" % index for index in range(len(x))]
    return {"word": words, "x": x}


@pytest.mark.timeout(900)  # TensorFlow is loaded once an op
@pytest.mark.parametrize("dtype", TYPES)
def test_every_op(narrow_models: Path, tmp_path: Path, dtype: str) -> None:
    original, plan, reports = compiled(narrow_models, dtype, tmp_path / "plan")
    numbers = extremes(dtype)
    requests = [beside(np.array([[number, 1], [2, number]], dtype)) for number in numbers]
    # TensorFlow's argmax takes the least float32 for -inf.
    finite = numbers[np.isfinite(numbers)]
    requests += [beside(np.zeros((0, 2), dtype)), beside(np.stack([finite, finite[::-1]], 1))]
    wrong = []
    for name, report in reports.items():
        assert report.why_not is None
        for inputs, found, expected in zip(
            requests, answers(plan, name, requests), answers(original, name, requests), strict=True
        ):
            if (found is None) != (expected is None) or (found is not None and differs(found, expected)):
                wrong.append((name, report.why_tensorflow, inputs["x"][:2].tolist(), found, expected))
    assert wrong == []
    assert OPENVINO.get(dtype, set()) <= {name for name, report in reports.items() if not report.why_tensorflow}


def test_quotients_of_floats(narrow_models: Path, tmp_path: Path) -> None:
    """Of exact multiples: a reciprocal makes less of some of them."""
    original, plan, reports = compiled(narrow_models, "float32", tmp_path / "plan")
    multiples = np.arange(-2000, 2000, dtype=np.float32) * 7
    requests = [beside(numbers.reshape(-1, 2)) for numbers in (multiples, np.float32([1.7e9, 16777213]))]
    for name in ("quotient", "remainder", "truncated"):
        assert "otherwise" in reports[name].why_tensorflow or "not exact on floats" in reports[name].why_tensorflow
        for found, expected in zip(answers(plan, name, requests), answers(original, name, requests), strict=True):
            assert found is not None and expected is not None
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["decay", "gaps"])
def test_times(narrow_models: Path, tmp_path: Path, kind: str) -> None:
    """Milliseconds of today need 41 bits; seconds in float32 go by the two minutes."""
    original, plan, _ = compiled(narrow_models, kind, tmp_path / "plan")
    source = np.random.default_rng(1)
    requests = []
    for _ in range(50):
        times = 1_700_000_000_000 + source.integers(0, 10**9, (4, 3))
        now = times.max(1) + source.integers(1, 60_000, 4)
        if kind == "gaps":
            times, now = times / 1000.0, now / 1000.0
        requests.append({"word": np.array([b"a", b"b", b"c", b""], object), "now": now, "times": times})
    for found, expected in zip(
        answers(plan, "serving_default", requests), answers(original, "serving_default", requests), strict=True
    ):
        assert found is not None and expected is not None
        np.testing.assert_allclose(found, expected, rtol=1e-6)
