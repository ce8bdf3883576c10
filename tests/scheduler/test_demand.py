"""What a request costs, from what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corelane.scheduler import Cost, Demand, fit_cost


@given(st.floats(0.01, 10), st.floats(0, 1))
def test_a_line_is_found(fixed: float, per_row: float) -> None:
    found = fit_cost([(rows, fixed + per_row * rows) for rows in (1, 10, 100)])
    assert [found.ms(rows) for rows in (1, 10, 100)] == pytest.approx([fixed + per_row * r for r in (1, 10, 100)])
    assert found.fit_error < 1e-6


def test_a_fit_says_how_well_it_fits() -> None:
    found = fit_cost([(1, 1.0), (10, 1.0), (100, 4.0)])
    assert 0.1 < found.fit_error < 0.5
    assert found.fixed_ms >= 0
    assert found.per_row_ms >= 0


def test_one_size_only() -> None:
    assert fit_cost([(1, 3.0)]) == Cost(fixed_ms=3.0, per_row_ms=0.0)
    assert fit_cost([(5, 2.0), (5, 2.0)]).ms(5) == pytest.approx(2.0)


def test_larger_batches_that_cost_less_are_noise() -> None:
    found = fit_cost([(1, 2.0), (100, 1.0)])
    assert found.per_row_ms == 0
    assert found.fixed_ms > 0


@pytest.mark.parametrize("points", [[], [(1, 0.0)]])
def test_no_measurement(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="measured times"):
        fit_cost(points)


def test_load() -> None:
    cost = Cost(fixed_ms=1.0, per_row_ms=0.1, cv=0.0)
    demand = Demand(model="m", version=2, role="ab", rate_per_s=500, cost=cost, batches=((1.0, 0.5), (11.0, 0.5)))
    assert demand.name == "m/2"
    assert demand.service.mean_ms == pytest.approx(1.6)
    assert demand.load == pytest.approx(0.8)
