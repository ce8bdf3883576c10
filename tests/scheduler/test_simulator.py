"""The simulator against what is known exactly."""

import pytest

from corelane.scheduler import service_of
from corelane.scheduler.simulator import Stream, simulate_sessions, simulate_slicing


def stream(rate_per_s: float, ms: float = 2.0, **rest: float) -> Stream:
    return Stream(rate_per_s=rate_per_s, service=service_of([(1.0, ms)]), **{"queue_capacity": 10**9, **rest})  # type: ignore[arg-type]


def test_a_seed_is_a_run() -> None:
    runs = [simulate_sessions([stream(300), stream(200)], 2, 50, seed=seed) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_one_session_is_pollaczek_khinchine() -> None:
    (found,) = simulate_sessions([stream(400)], 1, 3000)
    assert found.mean_ms == pytest.approx(2 + 0.8 * 2 / (2 * 0.2), rel=0.02), "M/D/1 at 80 %"
    assert found.arrived == pytest.approx(400 * 3000, rel=0.01)
    assert found.arrived == found.answered + found.refused


def test_slicing_is_processor_sharing() -> None:
    (found,) = simulate_slicing([stream(400)], 1, 3000, switch_ms=0)
    assert found.mean_ms == pytest.approx(2 / (1 - 0.8), rel=0.03), "M/G/1 processor sharing at 80 %"
    (dearer,) = simulate_slicing([stream(400)], 1, 3000, switch_ms=0.3)
    assert dearer.mean_ms > 1.3 * found.mean_ms


def test_an_overload_takes_no_more_than_its_share() -> None:
    calm, greedy = simulate_sessions([stream(100), stream(5000, queue_capacity=50)], 2, 200)
    assert calm.refused == 0
    assert calm.p99_ms < 6, "its own 2 ms and the rest of somebody's"
    assert greedy.answered == pytest.approx(200 * (1000 - 100), rel=0.03), "it gets all that is left"
    assert greedy.refused > 0


def test_shares_by_weight() -> None:
    streams = [stream(5000, queue_capacity=20, weight=3.0), stream(5000, queue_capacity=20)]
    heavy, light = simulate_sessions(streams, 2, 100)
    assert heavy.answered / light.answered == pytest.approx(3, rel=0.03)


def test_queues_are_bounded_and_waits_too() -> None:
    (full,) = simulate_sessions([stream(1000, queue_capacity=4)], 1, 100)
    assert full.p99_ms <= 2 * (4 + 2)
    assert full.answered == pytest.approx(100 * 500, rel=0.02)
    (late,) = simulate_sessions([stream(1000, queue_timeout_ms=10.0)], 1, 100)
    assert late.p99_ms <= (10 + 2) * 1.02
    assert late.refused > 0


def test_in_time_is_within_the_slo() -> None:
    (found,) = simulate_sessions([stream(400, slo_ms=4.0)], 1, 500)
    assert 0.3 < found.in_time / found.answered < 0.9
