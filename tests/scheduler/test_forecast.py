"""What clients would see: gateways as part of the host, and the smallest host that is enough."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from corelane.scheduler import Cost, Demand, Host, Prediction, Service, predict, service_of, uniform_host
from corelane.scheduler.forecast import CORES_MAX, Circumstances, Forecast, forecast, in_sequence, smallest
from corelane.scheduler.gateways import CALL_MS, CHANNEL_MS, GatewayForecast, gateway_processes
from corelane.scheduler.queueing import wait_tail


def demand(rate: float, ms: float = 1.0, name: str = "ctr", role: str = "baseline", **more: Any) -> Demand:
    cost = Cost(fixed_ms=ms, per_row_ms=0.0)
    return Demand(model=name, version=1, role=role, rate_per_s=rate, cost=cost, **more)  # type: ignore[arg-type]


def on(cores: int, *demands: Demand, **circumstances: Any) -> Forecast:
    return forecast(uniform_host(cores), demands, Circumstances(**circumstances))


def test_millions_of_calls_are_more_than_gateways_take() -> None:
    found = on(128, demand(3.4e6, ms=0.0001, slo_p99_ms=50))
    assert found.gateways.load == pytest.approx(3400 * CALL_MS)
    assert len(found.allocation.reserve) == 64, "as many as there may be"
    assert not found.holds
    (problem,) = found.problems
    assert problem.startswith(
        "gateways cannot keep up: 3.4 M calls/s of 0.45 ms of CPU are 1530 cores' work; 16 can be"
    )
    assert math.isinf(found.clients["ctr/1"].p99_ms)
    assert found.allocation.version("ctr/1").prediction.stable, "the worker alone would"  # type: ignore[union-attr]


def test_gateways_have_as_many_cores_as_they_need() -> None:
    calm, busy = on(64, demand(100)), on(64, demand(20_000, ms=0.1), gateways=64)
    assert len(calm.allocation.reserve) == 8
    assert len(busy.allocation.reserve) == busy.gateways.cpus_needed == 15
    assert busy.gateways.utilisation == pytest.approx(20 * CALL_MS / 15)
    assert busy.holds
    assert (calm.gateways.bound, busy.gateways.bound) == ("", "")


@pytest.mark.parametrize(
    ("processes", "cpus", "rate", "bound", "problem"),
    [
        (2, 16, 1000, "", None),
        (2, 16, 3000, "processes", None),
        (2, 16, 20_000, "processes", "set host.gateways to 15"),
        (32, 4, 20_000, "cores", "they need 15 cores, and host.gateways: 15"),
        (2, 4, 20_000, "processes", "they need 15 cores, and host.gateways: 15"),
    ],
)
def test_what_bounds_gateways(processes: int, cpus: int, rate: float, bound: str, problem: str | None) -> None:
    plan = GatewayForecast(processes=processes, cpus=tuple(range(cpus)), rate_per_s=rate, call_ms=CALL_MS)
    assert plan.bound == bound
    assert (plan.problem() or "").endswith(problem or "")
    assert (plan.problem() is None) == (problem is None) == plan.prediction.stable


def test_how_many_gateways() -> None:
    assert [gateway_processes(cores) for cores in (1, 16, 24, 128)] == [2, 2, 3, 16]
    assert gateway_processes(128, 5) == 5


def test_a_client_sees_gateway_channel_queue_and_run() -> None:
    found = on(16, demand(100, ms=2.0))
    alone = found.allocation.version("ctr/1").prediction  # type: ignore[union-attr]
    seen, stage = found.clients["ctr/1"], found.gateways.prediction
    assert seen.mean_ms == pytest.approx(alone.mean_ms + stage.mean_ms + CHANNEL_MS)
    assert max(alone.p99_ms, stage.p99_ms) < seen.p99_ms < alone.p99_ms + stage.p99_ms + CHANNEL_MS


def test_an_slo_that_the_worker_meets_and_clients_do_not() -> None:
    found = on(16, demand(100, ms=2.0, slo_p99_ms=2.6))
    assert found.allocation.problems == ()
    (problem,) = found.problems
    assert problem.startswith("ctr/1 misses its SLO: a client sees a p99 of ")
    assert "in a gateway" in problem
    assert not found.holds


def test_on_a_small_host_versions_and_gateways_slow_each_other_down() -> None:
    def shared(rate: float) -> Forecast:
        return on(2, demand(rate, ms=1.0, role="ab"))

    calm, busy = shared(10), shared(800)
    assert calm.gateways.cpus == calm.allocation.pool
    assert busy.clients["ctr/1"].mean_ms > calm.clients["ctr/1"].mean_ms
    assert busy.gateways.slowdown > calm.gateways.slowdown > 1
    over = shared(1600)
    assert not over.holds
    assert "ctr/1 cannot keep up beside the gateways" in " ".join(over.problems)
    alone = on(2, demand(800, ms=1.0), demand(1, name="b", role="ab"))
    assert alone.allocation.version("ctr/1").prediction == replace(  # type: ignore[union-attr]
        predict(0.8, demand(800).service, 1)
    ), "a baseline on a core of its own is not slowed down"


def test_two_threads_of_a_core_are_slower_for_gateways_too() -> None:
    smt = forecast(uniform_host(16, threads=2), [demand(1000)], Circumstances())
    assert smt.gateways.call_ms == pytest.approx(CALL_MS * 1.6)


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.3), (0.7, 0.2), (0.2, 0.8)])
def test_stages_in_sequence_are_a_drawn_sample_within_an_eighth(first: float, second: float) -> None:
    stages: list[tuple[Service, float, int]] = [
        (service_of([(1.0, 0.5)], 0.5), first, 1),
        (service_of([(0.8, 1.0), (0.2, 3.0)], 0.1), second, 4),
    ]
    draw = random.Random(7)
    sums = [0.0] * 200_000
    predictions: list[Prediction] = []
    for service, busy, sessions in stages:
        arrivals = busy * sessions / service.mean_ms
        tail = wait_tail(arrivals, service, sessions)
        predictions.append(predict(arrivals, service, sessions))
        shares, times = zip(*service.points, strict=True)
        for index, time in enumerate(draw.choices(times, shares, k=len(sums))):
            sums[index] += time + (draw.expovariate(tail.rate) if draw.random() < tail.weight else 0.0)
    sums.sort()
    found = in_sequence(*predictions)
    assert found.p99_ms == pytest.approx(sums[int(len(sums) * 0.99)], rel=0.125)
    assert found.p50_ms == pytest.approx(sums[len(sums) // 2], rel=0.125)


def test_what_never_ends_first_never_ends() -> None:
    never = predict(10.0, service_of([(1.0, 1.0)]), 1)
    calm = predict(0.1, service_of([(1.0, 1.0)]), 1)
    for pair in ((never, calm), (calm, never)):
        assert not in_sequence(*pair).stable


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_smallest_host_is_the_first_that_holds(step: int) -> None:
    demands = [demand(900, ms=4.0, slo_p99_ms=8), demand(50, ms=2.0, name="b", role="ab", slo_p99_ms=20)]
    tried: list[int] = []
    search = smallest(uniform_host, step, demands, Circumstances(gateways=4), tried.append)
    cores = search.forecast.host.cores
    assert search.is_enough
    assert search.forecast.holds
    sizes = range(step, cores, step)
    assert [size for size in sizes if on(size, *demands, gateways=4).holds] == []
    assert search.limits == on(cores - step, *demands, gateways=4).problems
    assert search.limits
    assert len(tried) == len(set(tried)) < len(sizes) + 5


def test_one_core_may_be_enough() -> None:
    search = smallest(uniform_host, 1, [demand(1)], Circumstances())
    assert (search.is_enough, search.forecast.host.cores, search.limits) == (True, 1, ())


def test_an_slo_below_a_request_alone_is_told_at_once() -> None:
    tried: list[int] = []
    demands = [demand(1, ms=5.0, slo_p99_ms=4), demand(1, name="b", ms=0.1, slo_p99_ms=0.3)]
    search = smallest(uniform_host, 1, demands, Circumstances(), tried.append)
    assert not search.is_enough
    assert [limit.split(":")[0] for limit in search.limits] == ["ctr/1", "b/1"]
    assert "no number of cores meets 0.3 ms; a client sees a p99 of " in search.limits[1]
    assert tried == [1]


def test_no_host_is_enough() -> None:
    def host(cores: int) -> Host:
        return uniform_host(cores)

    search = smallest(host, CORES_MAX // 4, [demand(1e8, ms=0.0001)], Circumstances())
    assert not search.is_enough
    assert search.forecast.host.cores == CORES_MAX
    assert search.limits[0].startswith("gateways cannot keep up: 100 M calls/s")
