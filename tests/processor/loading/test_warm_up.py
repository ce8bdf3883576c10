"""What a load makes of the first runs: which refusals are the model's word on made-up values, and which its end."""

from pathlib import Path

import numpy as np
import pytest

from corelane.processor.errors import (
    EngineFailed,
    FailedPrecondition,
    InvalidRequest,
    LoadError,
    NotFound,
    OutOfRange,
    RequestError,
)
from corelane.processor.loading.warm_up import warm_up
from corelane.processor.wire.tensor_types import Signature
from tests.support.function_engine import FunctionEngine, Inputs, Model, specs

Outcome = type[RequestError] | None


def signature(name: str, effect: str = "") -> Signature:
    return Signature(
        name=name, inputs=specs(x=("DT_FLOAT", (-1,))), outputs=specs(y=("DT_FLOAT", (-1,))), effect=effect
    )


def answering(outcome: Outcome, rows_min: int = 0) -> Model:
    """Fails with an error; answers inputs of `rows_min` rows and more, if that is given."""

    def model(inputs: Inputs) -> dict[str, np.ndarray]:
        if outcome is not None and not 0 < rows_min <= len(inputs["x"]):
            raise outcome("why")
        return {"y": inputs["x"]}

    return model


def engine_of(*outcomes: Outcome, effect: bool = False, rows_min: int = 0) -> FunctionEngine:
    models = {str(index): (signature(str(index)), answering(one, rows_min)) for index, one in enumerate(outcomes)}
    if effect:
        models["init"] = (signature("init", "an assignment"), answering(None))
    first = models.pop("0")
    return FunctionEngine(*first, **models)


@pytest.mark.parametrize(
    ("outcomes", "effect", "is_failed"),
    [
        ([EngineFailed], False, True),
        ([FailedPrecondition], False, True),
        ([EngineFailed, FailedPrecondition], False, True),
        ([EngineFailed], True, True),
        # A signature that only clients run may bring what is missing.
        ([FailedPrecondition], True, False),
        ([EngineFailed, FailedPrecondition], True, False),
        # The model's word on the values, or a signature that runs.
        ([InvalidRequest], False, False),
        ([OutOfRange], False, False),
        ([NotFound], False, False),
        ([EngineFailed, InvalidRequest], False, False),
        ([EngineFailed, None], False, False),
        ([None], False, False),
    ],
)
def test_a_load_fails_if_nothing_runs_and_values_are_not_to_blame(
    outcomes: list[Outcome], effect: bool, is_failed: bool, tmp_path: Path
) -> None:
    engine = engine_of(*outcomes, effect=effect)
    if is_failed:
        with pytest.raises(LoadError, match="no signature runs, whatever its inputs: why"):
            warm_up(engine, [None, None], tmp_path, 1 << 20)
    else:
        warm_up(engine, [None, None], tmp_path, 1 << 20)


def test_other_inputs_are_tried_before_a_load_has_failed(tmp_path: Path) -> None:
    warm_up(engine_of(EngineFailed, rows_min=2), [None], tmp_path, 1 << 20)


def test_a_plan_that_lacks_its_original_serves_the_shapes_that_it_has(tmp_path: Path) -> None:
    engine = engine_of(FailedPrecondition)
    engine.name = "fused"
    warm_up(engine, [None], tmp_path, 1 << 20)
