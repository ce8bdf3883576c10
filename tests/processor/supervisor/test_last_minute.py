"""Failures and parts of the last minute, and how busy the cores are, from what is made up."""

from collections import Counter
from pathlib import Path

import pytest

from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.channel.methods import Entry, Method
from corelane.processor.supervisor.views.core_use import CoreUse
from corelane.processor.supervisor.views.counts import Counts, Histogram
from corelane.processor.supervisor.views.last_minute import LastMinute
from corelane.processor.supervisor.views.slowness import Parts, explanation

KEY = ("m", 1)


def times(count: int, ms: float) -> Histogram:
    slots = [0] * (len(BOUNDS_US) + 1)
    slots[next(index for index, bound in enumerate(BOUNDS_US) if ms * 1000 <= bound)] = count
    return slots, round(count * ms * 1e6)


def counts(answered: int, codes: dict[int, int] | None = None, cpu_s: float = 0.0, **mean_ms: float) -> Counts:
    """Of so many answers, and other ends by gRPC code; `mean_ms` are latency, total, queue, run and gate."""
    ends = {0: answered, **(codes or {})}
    return Counts(
        numbers=Counter(rejected=ends.get(8, 0)),
        codes=Counter({(Method.PREDICT, Entry.GRPC, code): count for code, count in ends.items()}),
        latency={(Method.PREDICT, Entry.GRPC): times(answered, mean_ms.get("latency", 1))},
        times={name: times(answered, mean_ms.get(name, 1)) for name in ("queue", "run", "total", "gate")},
        cpu_s=cpu_s,
    )


def minute(*readings: tuple[float, Counts]) -> LastMinute:
    recent = LastMinute()
    for now_s, of_version in readings:
        recent.read({KEY: of_version}, now_s)
    return recent


def test_nothing_is_known_at_first() -> None:
    assert minute().to_json(KEY, shares=False) is None
    recent = minute((0.0, counts(50)))
    assert recent.to_json(KEY, shares=False) is None
    assert (recent.failed_per_s(KEY), recent.cores(KEY)) == (0.0, 0.0)


def test_ends_by_code_are_of_the_last_minute() -> None:
    recent = minute(
        (0.0, counts(0, {4: 1000})), *((float(at), counts(10 * at, {4: 1000, 8: at})) for at in range(2, 122, 2))
    )
    document = recent.to_json(KEY, shares=False)
    assert document is not None
    assert document["seconds"] == 60
    assert document["codes"] == {"OK": 600, "RESOURCE_EXHAUSTED": 60}, "what was before is past"
    assert (document["calls"], document["failed"], document["refused"]) == (660, 60, 60)
    assert "60 calls were refused" in document["why"]
    assert recent.failed_per_s(KEY) == pytest.approx(1.0)


def test_core_use_is_of_the_last_seconds() -> None:
    recent = minute((0.0, counts(0, cpu_s=50)), (50.0, counts(0, cpu_s=50)), (60.0, counts(0, cpu_s=65)))
    assert recent.cores(KEY) == pytest.approx(1.5)


def test_a_new_versions_first_calls_count_and_its_load_does_not() -> None:
    recent = minute((0.0, counts(10)))
    recent.read({KEY: counts(10), ("m", 2): counts(30, cpu_s=20)}, 2.0)
    document = recent.to_json(("m", 2), shares=False)
    assert document is not None and (document["calls"], document["seconds"]) == (30, 2.0)
    assert recent.cores(("m", 2)) == 0.0


def test_parts_make_up_the_latency() -> None:
    before, after = counts(0), counts(100, latency=20, total=17, queue=12, run=5, gate=9)
    document = minute((0.0, before), (2.0, after)).to_json(KEY, shares=True)
    assert document is not None
    assert document["parts_ms"] == pytest.approx({"gateway": 3, "queue": 3, "pool": 9, "run": 5}, rel=1e-6)
    assert document["mean_ms"] == pytest.approx(20)
    assert document["why"].startswith("45% of 20 ms is spent waiting for a core of the pool")


def test_the_gates_wait_is_no_more_than_the_queues() -> None:
    """Sessions wait there for requests that another takes."""
    after = counts(100, latency=6, total=6, queue=1, run=5, gate=50)
    document = minute((0.0, counts(0)), (2.0, after)).to_json(KEY, shares=True)
    assert document is not None and document["parts_ms"] == pytest.approx(
        {"gateway": 0, "queue": 0, "pool": 1, "run": 5}
    )


def test_a_version_that_comes_back_starts_anew() -> None:
    recent = minute((0.0, counts(500)), (2.0, counts(600)), (4.0, counts(3)), (6.0, counts(5)))
    document = recent.to_json(KEY, shares=False)
    assert document is not None and document["calls"] == 5, "all of those that it had since"
    recent.read({}, 8.0)
    assert recent.to_json(KEY, shares=False) is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (Parts(gateway_ms=9, queue_ms=1, pool_ms=0, run_ms=2), "75% of 12 ms is spent in the gateways"),
        (Parts(gateway_ms=1, queue_ms=9, pool_ms=0, run_ms=2), "waiting for a session that is free: more cores"),
        (Parts(gateway_ms=1, queue_ms=2, pool_ms=9, run_ms=2), "a higher pool_weight"),
        (Parts(gateway_ms=1, queue_ms=2, pool_ms=0, run_ms=9), "in the model's own run"),
        (Parts(gateway_ms=0.1, queue_ms=0, pool_ms=0, run_ms=0.3), "Calls are quick: 0.4 ms, most of it (75%): run."),
        (Parts(gateway_ms=0, queue_ms=0, pool_ms=0, run_ms=0), "Calls are quick: 0 ms, most of it (0%)"),
        (None, "None of 7 calls was answered"),
    ],
)
def test_what_dominates_is_said_with_what_to_do(parts: Parts | None, words: str) -> None:
    assert words in explanation(parts, 7, 0, shares=False)
    assert "role baseline would give" not in explanation(parts, 7, 0, shares=False)


def test_without_calls() -> None:
    assert explanation(None, 0, 0, shares=False) == "No call came in the last minute."


def write(path: Path, busy: dict[int, int], idle: dict[int, int]) -> None:
    lines = ["cpu  1 2 3 4 5 6 7 8 0 0"]
    lines += [f"cpu{cpu} {busy[cpu]} 0 0 {idle[cpu]} 0 0 0 0 99999 0" for cpu in busy]
    path.write_text("\n".join([*lines, "intr 5 0", "softirq 7"]) + "\n")


def test_how_busy_cores_are_between_two_looks(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    use = CoreUse(path)
    write(path, {0: 100, 1: 0, 5: 0}, {0: 100, 1: 100, 5: 0})
    use.look([0, 1])
    assert use.busy == {}, "one look says nothing"
    write(path, {0: 150, 1: 0, 5: 7}, {0: 150, 1: 90, 5: 0})
    use.look([0, 1])
    assert use.busy == {0: 0.5}, "only ours; a clock that stepped back says nothing"
    write(path, {0: 250, 1: 10, 5: 7}, {0: 150, 1: 120, 5: 0})
    use.look([0, 1])
    assert use.busy == {0: 1.0, 1: 0.25}


@pytest.mark.parametrize("text", [None, "", "cpu0 a b c\n", "cpu0 1\n"])
def test_a_file_that_says_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "stat"
    if text is not None:
        path.write_text(text)
    use = CoreUse(path)
    for _ in range(2):
        use.look([0])
        assert use.busy == {}
