"""Whether the comparison of two engines finds what differs, wherever in a request that lies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor.errors import InvalidRequest
from corelane.processor.plans.equality import Equality, compare
from corelane.processor.trials.hints import Hints
from corelane.processor.wire.tensor_types import Signature
from tests.support.function_engine import FunctionEngine, Inputs, Model, specs

IDS = Signature(
    name="serving_default",
    inputs=specs(a=("DT_INT64", (-1,)), b=("DT_INT64", (-1,)), c=("DT_INT64", (-1,)), x=("DT_INT64", (-1,))),
    outputs=specs(y=("DT_INT64", (-1,)), z=("DT_FLOAT", (-1,))),
)
LISTS = Signature(
    name="serving_default",
    inputs=specs(x=("DT_FLOAT", (-1, -1)), word=("DT_STRING", (-1,))),
    outputs=specs(y=("DT_FLOAT", (-1,))),
)


def looked_up(inputs: Inputs) -> dict[str, np.ndarray]:
    """Three ids that are checked, and one number that is not."""
    for name, rows in (("a", 5), ("b", 40), ("c", 2000)):
        for index, value in enumerate(inputs[name].tolist()):
            if not 0 <= value < rows:
                raise InvalidRequest(f"indices[{index}] = {value} is not in [0, {rows})")
    try:
        total = inputs["a"] + inputs["b"] + inputs["c"] + inputs["x"] % 1000
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    return {"y": total, "z": total.astype(np.float32)}


def summed(inputs: Inputs) -> dict[str, np.ndarray]:
    lengths = np.array([len(word) for word in inputs["word"]], np.float32)
    if len(lengths) != len(inputs["x"]):
        raise InvalidRequest("incompatible shapes")
    with np.errstate(invalid="ignore"):
        return {"y": inputs["x"].sum(axis=1, dtype=np.float32) + lengths}


def changed(model: Model, where: Callable[[Inputs], Any], output: str = "y") -> Model:
    """The model, with one more added to an output's elements `where` says so."""

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        answer = model(inputs)
        value = answer[output]
        return {**answer, output: np.where(where(inputs), value + 1, value).astype(value.dtype)}

    return run


def compared(signature: Signature, original: Model, other: Model, folder: Path, hints: Hints | None = None) -> Equality:
    engine = FunctionEngine(signature, original)
    result = compare(engine, FunctionEngine(signature, other), folder, hints or Hints())
    assert engine.runs < 400, "the time that it takes is bounded"
    return result


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("narrow integers", lambda inputs: inputs["x"] > 2**40),
        ("negative numbers", lambda inputs: inputs["x"] < 0),
        ("the end of a table", lambda inputs: inputs["c"] >= 1900),
        ("the last id", lambda inputs: inputs["a"] == 4),
        (
            "no value but zero",
            lambda inputs: (inputs["a"] > 0) & (inputs["b"] > 0) & (inputs["c"] > 0) & (inputs["x"] > 9),
        ),
    ],
)
def test_strict_inputs_hide_nothing(tmp_path: Path, fault: str, where: Callable[[Inputs], Any]) -> None:
    """Three of four inputs refuse what is beyond their tables, one value of one row is enough."""
    for output in ("y", "z"):
        result = compared(IDS, looked_up, changed(looked_up, where, output), tmp_path)
        assert result.problem is not None, fault
        assert f"output {output}" in result.problem


def test_what_was_compared_is_told(tmp_path: Path) -> None:
    result = compared(IDS, looked_up, looked_up, tmp_path)
    assert result.problem is None
    assert result.accepted > 100
    for name in "abc":
        assert {"plain", "range", "duplicate"} <= set(result.kinds[f"serving_default/{name}"])
    assert {"large", "negative", "special"} <= set(result.kinds["serving_default/x"])
    hints = Hints(table_rows={("serving_default", name): rows for name, rows in (("a", 5), ("b", 40), ("c", 2000))})
    hinted = compared(IDS, looked_up, looked_up, tmp_path, hints)
    assert (hinted.problem, hinted.accepted > result.accepted - 10) == (None, True)


def test_what_the_original_refuses_is_refused(tmp_path: Path) -> None:
    def lenient(inputs: Inputs) -> dict[str, np.ndarray]:
        return looked_up({**inputs, "b": inputs["b"].clip(0, 39)})

    for hints in (Hints(), Hints(table_rows={("serving_default", "b"): 40})):
        result = compared(IDS, looked_up, lenient, tmp_path, hints)
        assert result.problem is not None
        assert "it answers what the original refuses (indices[" in result.problem


@pytest.mark.parametrize("width", [0, 1, 2, 3, 7])
def test_every_width(tmp_path: Path, width: int) -> None:
    result = compared(LISTS, summed, changed(summed, lambda inputs: inputs["x"].shape[1] == width), tmp_path)
    assert result.problem is not None
    assert "output y is" in result.problem


@pytest.mark.parametrize("rows", [1, 2, 64, 1000])
def test_every_number_of_rows(tmp_path: Path, rows: int) -> None:
    result = compared(LISTS, summed, changed(summed, lambda inputs: len(inputs["x"]) == rows), tmp_path)
    assert result.problem is not None


def test_rows_of_the_request_before(tmp_path: Path) -> None:
    """What a run without rows leaves of the one before it."""

    def best(inputs: Inputs) -> dict[str, np.ndarray]:
        if not len(inputs["x"]):
            raise InvalidRequest("input must have at least k columns. Had 0, needed 1")
        return {"y": summed(inputs)["y"].max(keepdims=True)}

    class Stale:
        def __init__(self) -> None:
            self._last = np.zeros(1, np.float32)

        def __call__(self, inputs: Inputs) -> dict[str, np.ndarray]:
            if len(inputs["x"]):
                self._last = best(inputs)["y"]
            return {"y": self._last}

    result = compared(LISTS, best, Stale(), tmp_path)
    assert result.problem is not None
    assert "it answers what the original refuses (input must have at least k" in result.problem
    assert compared(LISTS, best, best, tmp_path).problem is None


def test_answers_that_change_with_what_ran_before(tmp_path: Path) -> None:
    class Drifting:
        def __init__(self) -> None:
            self._runs = 0

        def __call__(self, inputs: Inputs) -> dict[str, np.ndarray]:
            self._runs += 1
            return {"y": summed(inputs)["y"] * np.float32(1 + (1e-6 if self._runs > 30 else 0))}

    result = compared(LISTS, summed, Drifting(), tmp_path)
    assert result.problem is not None
    assert "a request repeated after others has another answer" in result.problem


def test_no_number_is_not_zero(tmp_path: Path) -> None:
    def mean(inputs: Inputs) -> dict[str, np.ndarray]:
        values = summed(inputs)["y"]
        return {"y": np.array([values.mean()] if values.size else [np.nan], np.float32)}

    def zero(inputs: Inputs) -> dict[str, np.ndarray]:
        return {"y": np.nan_to_num(mean(inputs)["y"]) if not len(inputs["x"]) else mean(inputs)["y"]}

    result = compared(LISTS, mean, zero, tmp_path)
    assert result.problem is not None
    assert "is not finite where the other is" in result.problem


def test_outputs_alone(tmp_path: Path) -> None:
    class Subsets(FunctionEngine):
        def run(self, session: Any, signature: Signature, inputs: Inputs, outputs: Sequence[str]) -> Any:
            answer = super().run(session, signature, inputs, outputs)
            return answer if len(outputs) > 1 else {name: value + 1 for name, value in answer.items()}

    result = compare(FunctionEngine(IDS, looked_up), Subsets(IDS, looked_up), tmp_path, Hints())
    assert result.problem is not None
    assert "asked for alone: output z" in result.problem


def test_inputs_of_different_rows(tmp_path: Path) -> None:
    """A user fed once, beside the items: the original repeats the row."""

    def same_rows(inputs: Inputs) -> dict[str, np.ndarray]:
        if len({len(array) for array in inputs.values()}) > 1:
            raise InvalidRequest("inputs differ in their number of rows")
        return looked_up(inputs)

    result = compared(IDS, looked_up, same_rows, tmp_path)
    assert result.problem is not None
    assert "refused: inputs differ in their number of rows" in result.problem


def test_an_input_of_which_nothing_is_taken(tmp_path: Path) -> None:
    """All other inputs agree, and nothing says what becomes of this one."""

    def picky(inputs: Inputs) -> dict[str, np.ndarray]:
        if inputs["b"].any():
            raise InvalidRequest("b should be a product that there is")
        return looked_up(inputs)

    result = compared(IDS, picky, picky, tmp_path)
    assert result.problem is not None
    assert "takes no values of input b but zeros" in result.problem
    left = compared(IDS, picky, picky, tmp_path, Hints(signatures=("other",)))
    assert left.problem is None, "a signature that the plan does not compute is the original's own"


def test_nothing_is_taken(tmp_path: Path) -> None:
    def nothing(_: Inputs) -> dict[str, np.ndarray]:
        raise InvalidRequest("no")

    result = compared(IDS, nothing, nothing, tmp_path, Hints(signatures=("other",)))
    assert result.problem is not None
    assert "every request made up is refused" in result.problem
