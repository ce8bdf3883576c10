"""A day of points in bounded memory, by made-up clocks."""

import dataclasses
import itertools

import pytest

from corelane.processor.supervisor.views.history import RANGES_S, SERIES, History, Sample

SAMPLE = Sample(rate_per_s=10.0, p50_ms=1.0, p99_ms=2.0, failed_per_s=0.0, cores=0.5)
WALL_S = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def history() -> tuple[History, Clock]:
    clock = Clock()
    return History(clock, lambda: WALL_S + clock.now_s), clock


def column(document: dict, name: str, version: str = "m/1") -> list[float | None]:
    return [point[1 + SERIES.index(name)] for point in document["versions"][version]]


def test_points_are_the_coarser_the_longer_the_range() -> None:
    noted, clock = history()
    for _ in range(30 * 3600 // 2):  # 30 hours, every two seconds
        noted.note({"m/1": SAMPLE})
        clock.now_s += 2
    for span, step_s in (("5m", 2), ("1h", 30), ("6h", 300), ("1d", 300)):
        document = noted.to_json(span)
        assert (document["range"], document["range_s"], document["step_s"]) == (span, RANGES_S[span], step_s)
        assert document["series"] == list(SERIES)
        times = [point[0] for point in document["versions"]["m/1"]]
        assert len(times) == pytest.approx(RANGES_S[span] / step_s, abs=1)
        assert times == sorted(times)
        assert document["now_s"] == WALL_S + clock.now_s
        assert document["now_s"] - RANGES_S[span] <= times[0] and times[-1] == document["now_s"] - 2
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps) == step_s


def test_a_coarse_point_has_the_largest_p99_and_the_mean_of_the_others() -> None:
    noted, clock = history()
    clock.now_s = 3000.0
    for second in range(0, 60, 2):
        late = second == 20
        noted.note({"m/1": dataclasses.replace(SAMPLE, rate_per_s=second, p99_ms=90.0 if late else 2.0, p50_ms=None)})
        clock.now_s += 2
    document = noted.to_json("1h")
    assert column(document, "rate_per_s") == [14.0, 44.0]
    assert column(document, "p99_ms") == [90.0, 2.0]
    assert column(document, "p50_ms") == [None, None], "nothing was answered"


def test_what_is_kept_is_bounded_in_time() -> None:
    noted, clock = history()
    noted.note({"m/1": SAMPLE, "m/2": SAMPLE})
    clock.now_s += 400
    noted.note({"m/2": SAMPLE})
    assert set(noted.to_json("5m")["versions"]) == {"m/2"}
    assert set(noted.to_json("1h")["versions"]) == {"m/1", "m/2"}, "a version that went is still drawn"
    clock.now_s += 86_400
    noted.note({"m/2": SAMPLE})
    assert set(noted.to_json("1d")["versions"]) == {"m/2"}


def test_what_is_kept_of_versions_that_went_is_bounded() -> None:
    noted, clock = history()
    for version in range(500):
        noted.note({f"m/{version}": SAMPLE, "base/1": SAMPLE})
        clock.now_s += 2
    versions = noted.to_json("1h")["versions"]
    assert set(versions) == {"base/1", *(f"m/{version}" for version in range(499 - 64, 500))}, (
        "the latest 64, and m/499"
    )


def test_a_wall_clock_that_is_set_moves_all_points_alike() -> None:
    clock, wall = Clock(), Clock()
    noted = History(clock, wall)
    for _ in range(5):
        noted.note({"m/1": SAMPLE})
        clock.now_s += 2
        wall.now_s += 2
    wall.now_s -= 3600
    document = noted.to_json("5m")
    times = [point[0] for point in document["versions"]["m/1"]]
    assert times == [document["now_s"] - 2 * age for age in (5, 4, 3, 2, 1)]


def test_of_nothing() -> None:
    noted, _ = history()
    assert noted.to_json("1d")["versions"] == {}
    with pytest.raises(KeyError):
        noted.to_json("2h")
