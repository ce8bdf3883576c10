"""What the demo checks of served scores, and what it prints when that fails."""

import ml_dtypes
import numpy as np
import pytest

from corelane.demo.run import Check, DemoFailed, judge, show
from processor.errors import DeadlinePassed

SOURCE = np.random.default_rng(1)
LOGITS = SOURCE.normal(-1, 1.5, 2000)
LABELS = (SOURCE.random(2000) < 1 / (1 + np.exp(-LOGITS))).astype(np.float32)


def scores(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


OWN = scores(LOGITS)
# As a plan and a graph round in bf16, each at other places.
ROUNDED = scores(LOGITS.astype(ml_dtypes.bfloat16)).astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "served", "precision", "problem"),
    [
        ("the engine's own", OWN, "fp32", ""),
        ("another order of sums", OWN + np.float32(1e-6), "fp32", ""),
        ("bf16 for fp32", ROUNDED, "fp32", "ctr/1 answered 0.00"),
        ("bf16 as it rounds", ROUNDED, "bf16", ""),
        ("int8 rows", OWN + np.float32(0.004), "int8", ""),
        ("another model in bf16", np.roll(OWN, 1), "bf16", "ctr/1 answered 0."),
        ("scores that hardly differ and rank otherwise", OWN * 0 + 0.3, "bf16", "ctr/1 answered 0."),
        ("no number", np.where(OWN > 0.5, np.nan, OWN), "bf16", "ctr/1 answered (2000,) with (2000,) expected"),
        ("too few", OWN[:-1], "fp32", "ctr/1 answered (1999,) with (2000,) expected"),
    ],
)
def test_scores_are_judged_by_their_precision(case: str, served: np.ndarray, precision: str, problem: str) -> None:
    check = judge("ctr/1", served, OWN, LABELS, precision)
    assert (check.problem.startswith(problem), bool(check.problem)) == (True, bool(problem)), (case, check)


def test_small_moves_that_rank_otherwise() -> None:
    """Click rates of a hundredth: a move that is small for a score turns their order round."""
    own = 0.01 + OWN / 100
    check = judge("ctr/1", 0.02 - OWN / 100, own, LABELS, "bf16")
    assert check.difference < 0.02
    assert check.problem.startswith("ctr/1 ranks otherwise than its engine: AUC 0.")


def test_all_that_was_measured_is_printed_before_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [Check(difference=0.5, problem="ctr/1 is wrong"), Check(difference=0.0, problem="")]
    with pytest.raises(DemoFailed, match=r"^ctr/1 is wrong; 1 calls failed; the first: late$"):
        show("a table", checks, [DeadlinePassed("late")])
    assert capsys.readouterr().out == "\na table\nDeadlinePassed late\n"
    show("a table", checks[1:], [])
    assert capsys.readouterr().out == "\na table\n"
