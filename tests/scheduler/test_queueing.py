"""The formulas against what is known exactly, and against the simulator."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corelane.scheduler import Service, predict, service_of
from corelane.scheduler.queueing import erlang_c, mean_wait_ms, mixture
from corelane.scheduler.simulator import Stream, simulate_sessions

MIXES = {
    "one kind": [(1.0, 5.0)],
    "batches of 1, 10, 100": [(0.6, 2.0), (0.3, 3.0), (0.1, 9.0)],
    "a tenth ten times as long": [(0.7, 2.0), (0.2, 5.0), (0.1, 20.0)],
}


def test_erlang_c() -> None:
    assert erlang_c(0.5, 1) == pytest.approx(0.5), "M/M/1 waits with the utilisation"
    assert erlang_c(1.0, 2) == pytest.approx(1 / 3)
    assert erlang_c(8.0, 10) == pytest.approx(0.4092, abs=1e-4), "a table's value"


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.9])
def test_mean_wait_of_one_session_is_pollaczek_khinchine(utilisation: float) -> None:
    service = service_of(MIXES["batches of 1, 10, 100"])
    arrivals = utilisation / service.mean_ms
    exact = arrivals * service.mean_ms**2 * (1 + service.variation) / (2 * (1 - utilisation))
    assert mean_wait_ms(arrivals, service, 1) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("sessions", [1, 2, 8, 32])
@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.85])
def test_p99_is_the_simulators_within_a_tenth(
    mix: list[tuple[float, float]], sessions: int, utilisation: float
) -> None:
    service = service_of(mix, cv=0.1)
    rate_per_s = 1000 * utilisation * sessions / service.mean_ms
    seconds = 400_000 / rate_per_s
    stream = Stream(rate_per_s=rate_per_s, service=service, queue_capacity=10**9)
    (found,) = simulate_sessions([stream], sessions, seconds, warm_up_s=seconds / 20)
    predicted = predict(rate_per_s / 1000, service, sessions)
    assert predicted.p99_ms == pytest.approx(found.p99_ms, rel=0.1)
    assert predicted.mean_ms == pytest.approx(found.mean_ms, rel=0.1)


def test_at_rest_and_beyond_what_can_be_done() -> None:
    service = service_of(MIXES["one kind"])
    idle = predict(0.0, service, 1)
    assert (idle.p50_ms, idle.p99_ms, idle.utilisation) == (5.0, 5.0, 0.0)
    full = predict(0.2, service, 1)
    assert not full.stable
    assert math.isinf(full.p99_ms)


services = st.builds(
    service_of,
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 100)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1, 0.5]),
)


@given(services, st.floats(0.01, 0.98), st.integers(1, 64))
def test_more_sessions_and_fewer_requests_never_wait_longer(
    service: Service, utilisation: float, sessions: int
) -> None:
    arrivals = utilisation * sessions / service.mean_ms
    found = predict(arrivals, service, sessions)
    assert found.p50_ms <= found.p99_ms
    assert service.points[0][1] <= found.p50_ms
    assert predict(arrivals, service, sessions + 1).p99_ms <= found.p99_ms * (1 + 1e-9)
    assert predict(arrivals * 0.9, service, sessions).p99_ms <= found.p99_ms * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0.01, 10), services), min_size=1, max_size=40))
def test_a_mixture_has_the_mean_of_its_parts(parts: list[tuple[float, Service]]) -> None:
    mixed = mixture(parts)
    total = sum(rate for rate, _ in parts)
    assert sum(share for share, _ in mixed.points) == pytest.approx(1)
    assert mixed.mean_ms == pytest.approx(sum(rate * service.mean_ms for rate, service in parts) / total)
    assert [time for _, time in mixed.points] == sorted(time for _, time in mixed.points)


def test_nothing_has_no_service_time() -> None:
    with pytest.raises(ValueError, match="at least"):
        service_of([])
    with pytest.raises(ValueError, match="at least"):
        mixture([(0.0, service_of(MIXES["one kind"]))])
