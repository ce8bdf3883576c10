"""Versions that share cores."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corelane.scheduler import Cost, Demand
from corelane.scheduler.pool import SharedPool, fair_shares
from corelane.scheduler.simulator import Stream, simulate_sessions


def demand(name: str, rate: float, ms: float = 2.0, weight: float = 1.0) -> Demand:
    cost = Cost(fixed_ms=ms, per_row_ms=0, cv=0.1)
    return Demand(model=name, version=1, role="ab", rate_per_s=rate, cost=cost, weight=weight)


asked = st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 5)), min_size=1, max_size=10)


@given(asked, st.floats(0.5, 16))
def test_shares_are_fair(versions: list[tuple[float, float]], cores: float) -> None:
    loads, weights = [load for load, _ in versions], [weight for _, weight in versions]
    shares = fair_shares(loads, weights, cores)
    assert sum(shares) == pytest.approx(min(cores, sum(loads)))
    assert all(share <= load * (1 + 1e-9) for share, load in zip(shares, loads, strict=True))
    # Who gets less than it asks has, by weight, at least as much as anybody else.
    for share, load, weight in zip(shares, loads, weights, strict=True):
        if share < load * (1 - 1e-6):
            assert all(other / of <= share / weight + 1e-6 for other, of in zip(shares, weights, strict=True))


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize(("calm", "greedy"), [(0.2, 0.3), (0.3, 0.5), (0.2, 5.0)])
def test_a_calm_version_waits_about_as_predicted(cores: int, calm: float, greedy: float) -> None:
    """Loads in cores' work by core. An upper bound in overload: the prediction takes everybody to be busy always."""
    demands = [demand("calm", 500 * calm * cores), demand("greedy", 500 * greedy * cores)]
    predicted = SharedPool(demands).predict(0, cores)
    streams = [Stream(rate_per_s=d.rate_per_s, service=d.service, queue_capacity=100) for d in demands]
    found = simulate_sessions(streams, cores, 400)[0]
    assert found.refused == 0
    assert found.p99_ms * 0.8 <= predicted.p99_ms <= found.p99_ms * (1.15 if calm + greedy < 1 else 2.2)


def test_who_asks_for_more_than_its_share_never_catches_up() -> None:
    pool = SharedPool([demand("calm", 100), demand("greedy", 2000)])
    assert math.isinf(pool.predict(1, 2).p99_ms)
    assert pool.share(1, 2) == (pytest.approx(1.8), True)
    assert pool.share(0, 2) == (pytest.approx(0.2), False)
    assert pool.predict(1, 8).stable


def test_sessions_for_an_slo() -> None:
    pool = SharedPool([demand("calm", 100), demand("greedy", 2000)])
    enough = pool.sessions_for(1, 6.0, 1)
    assert enough is not None
    assert pool.predict(1, enough).p99_ms <= 6.0 < pool.predict(1, enough - 1).p99_ms
    assert pool.sessions_for(1, 1.0, 1) is None, "a request alone takes longer"
