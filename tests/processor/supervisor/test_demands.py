"""What live traffic says of a worker, from a channel's statistics with made-up times."""

from pathlib import Path

import pytest

from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.manifest import ModelSettings
from corelane.processor.supervisor.demands import DemandMeter, demand_of
from corelane.scheduler import Profile


def reading(accepted: int, runs: dict[float, int] | None = None, rejected: int = 0) -> dict[str, object]:
    """Statistics of so many requests; `runs` are counts by ms."""
    counts = [0] * (len(BOUNDS_US) + 1)
    for ms, count in (runs or {}).items():
        counts[next(index for index, bound in enumerate(BOUNDS_US) if ms * 1000 <= bound)] += count
    return {"accepted": accepted, "rejected": rejected, "run_us": counts, "total_us": counts}


def test_nothing_is_known_at_first() -> None:
    meter = DemandMeter()
    assert (meter.rate_per_s, meter.service, meter.latency_ms(0.5)) == (0.0, None, None)
    meter.read(reading(50), 0.0)
    assert (meter.rate_per_s, meter.service, meter.latency_ms(0.5)) == (0.0, None, None)


def test_rates_follow_a_change() -> None:
    meter = DemandMeter()
    total = 0
    for second in range(0, 40, 2):
        total += 2 * (100 if second < 20 else 300)
        meter.read(reading(total - 7, rejected=7), float(second))
        if second == 18:
            assert meter.rate_per_s == pytest.approx(100, rel=0.05)
    assert meter.rate_per_s == pytest.approx(300, rel=0.05)


def test_service_times_are_of_the_last_half_minute() -> None:
    meter = DemandMeter()
    meter.read(reading(0), 0.0)
    meter.read(reading(1000, {2.0: 1000}), 2.0)
    service = meter.service
    assert service is not None
    assert service.mean_ms == pytest.approx(2.0, rel=0.1)
    for second in range(4, 60, 2):
        meter.read(reading(1000 + 100 * second, {2.0: 1000, 8.0: 100 * second}), float(second))
    service = meter.service
    assert service is not None
    assert service.mean_ms == pytest.approx(8.0, rel=0.1)
    assert meter.latency_ms(0.5) == pytest.approx(8.0, rel=0.16)


def test_too_few_runs_tell_nothing() -> None:
    meter = DemandMeter()
    meter.read(reading(0), 0.0)
    meter.read(reading(10, {2.0: 10}), 2.0)
    assert meter.service is None
    assert meter.latency_ms(0.99) is not None


def test_a_demand_is_what_the_manifest_says() -> None:
    model = ModelSettings(name="m", path=Path("m"), pool_weight=3.0, threads_per_session=2, slo_p99_ms=9.0)
    known = Profile(engine="onnxruntime", precision="fp32", threads=2, points=((1, 2.0, 0.0), (11, 4.0, 0.0)))
    demand = demand_of(model, 7, known, 50.0)
    assert (demand.name, demand.weight, demand.threads, demand.slo_p99_ms) == ("m/7", 3.0, 2, 9.0)
    assert demand.load == pytest.approx(0.1)
    unknown = demand_of(model, 7, Profile(engine="onnxruntime", precision="fp32", threads=2, points=()), 50.0)
    assert unknown.load > 0, "a version without a profile is not free"
