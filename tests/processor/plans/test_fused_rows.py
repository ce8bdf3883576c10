"""Fused plans where there are no rows or elements, or rows that differ by input: TensorFlow's answer, or refusal."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.engines import Engine, EngineOptions, load_engine
from corelane.processor.errors import InvalidRequest
from corelane.processor.plans.fusing import compile_and_compare
from corelane.processor.wire.status import code_of
from tests.support.row_models import MODELS
from tests.support.server import serving

# Of user, item and x, and the width of x; each comes after every other in some order.
SHAPES = [(3, 3, 3, 2), (0, 0, 0, 2), (1, 1, 1, 1), (2, 2, 2, 0), (64, 64, 64, 3), (0, 0, 0, 0)]
APART = [(1, 5, 5, 2), (5, 1, 5, 2), (1, 5, 1, 2), (2, 3, 3, 2), (0, 1, 1, 2), (1, 0, 0, 2), (1, 1, 4, 2)]


def drawn(source: np.random.Generator, user: int, item: int, rows: int, width: int) -> dict[str, np.ndarray]:
    return {
        "user": source.integers(50, size=user),
        "item": source.integers(40, size=item),
        "x": source.normal(size=(rows, width)).astype(np.float32),
    }


def answer(engine: Engine, session: object, inputs: dict[str, np.ndarray], outputs: list[str]) -> object:
    try:
        return engine.run(session, engine.signatures()["serving_default"], inputs, outputs)
    except InvalidRequest as error:
        return code_of(error)


def orders(count: int) -> Iterator[int]:
    """Every shape after every other."""
    for first in range(count):
        for second in range(count):
            yield from (first, second)


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_tensorflows(row_models: Path, tmp_path: Path, name: str) -> None:
    """No run sees what an earlier one left, whatever came before it and however it ended."""
    compiled = compile_and_compare(row_models / name / "1", tmp_path / "plan")
    assert compiled.reports[0].why_not is None
    original = load_engine("tensorflow", row_models / name / "1", EngineOptions())
    plan = load_engine("fused", tmp_path / "plan", EngineOptions())
    sessions = original.make_session(), plan.make_session()
    outputs = list(original.signatures()["serving_default"].outputs)
    source = np.random.default_rng(3)
    shapes = [*SHAPES, *APART]
    for number, place in enumerate(orders(len(shapes))):
        inputs = drawn(source, *shapes[place])
        if number % 7 == 3 and inputs["item"].size:
            inputs["item"][-1] = 40  # there is no such row
        asked = outputs if number % 3 else [outputs[number % len(outputs)]]
        expected = answer(original, sessions[0], inputs, asked)
        given = answer(plan, sessions[1], inputs, asked)
        if asked != outputs and not isinstance(expected, dict):
            continue  # TensorFlow runs all of a function, and refuses for an output that nobody asked for
        assert type(given) is type(expected), (shapes[place], asked, expected, given)
        if not isinstance(expected, dict):
            assert given == expected
            continue
        for output, array in expected.items():
            assert given[output].shape == array.shape  # type: ignore[index]
            np.testing.assert_allclose(given[output], array, 1e-5, 1e-6)  # type: ignore[index]


def test_what_openvino_cannot_do_is_tensorflows(row_models: Path, tmp_path: Path) -> None:
    """Ops whose values say how many elements there are: none of them, and OpenVINO would answer what it did before."""
    compiled = compile_and_compare(row_models / "kept/1", tmp_path / "plan")
    assert "values decide how many elements Where" in compiled.reports[0].why_tensorflow


def test_a_user_beside_its_items(row_models: Path, tmp_path: Path) -> None:
    """Over the wire: accepted with TensorFlow's values, or refused with its code."""
    manifest = (
        f"models: [{{name: fused, path: {row_models / 'crossed'}, engine: fused}}, "
        f"{{name: plain, path: {row_models / 'crossed'}, engine: tensorflow}}]"
    )
    with serving(tmp_path, manifest) as server:
        for name, engine in (("fused", "fused"), ("plain", "tensorflow")):
            assert server.wait_state(name, 1, "AVAILABLE")["engine"] == engine
        client = server.client()
        source = np.random.default_rng(4)
        for user, item in ((1, 6), (6, 1), (4, 4), (1, 1), (1, 600)):
            inputs = drawn(source, user, item, 1, 2)
            expected, given = (client.predict(name, inputs) for name in ("plain", "fused"))
            assert given["score"].shape == (max(user, item),)
            for output in ("score", "sum"):
                np.testing.assert_allclose(given[output], expected[output], 1e-5, 1e-6)
        for name in ("plain", "fused"):
            with pytest.raises(InvalidRequest, match="Incompatible shapes"):
                client.predict(name, drawn(source, 2, 3, 1, 2))
