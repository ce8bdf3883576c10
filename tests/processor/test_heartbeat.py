"""What the supervisor makes of looks in vain, of faults of its own, and of workers that it cannot start or reach."""

import asyncio
import logging
from typing import Any

import pytest

from processor.supervisor import lifecycle, tasks
from processor.supervisor.faults import Faults
from processor.supervisor.heartbeat import Heartbeat, Progress, Verdict
from processor.supervisor.lifecycle import Instance, Limits, Phase, State
from tests.processor.test_lifecycle import spec, wanted

LIMITS = Limits(loads_max=2)


def looks(cpu_s: list[float], answers: set[int], looks_max: int = 3) -> str:
    """The verdicts of a look for each reading of the CPU time; `answers`: before which looks it answered."""
    heartbeat, verdicts = Heartbeat(), []
    for number, used_s in enumerate(cpu_s):
        if number in answers:
            heartbeat.answered()
        verdicts.append(heartbeat.look(looks_max, lambda used_s=used_s: used_s))
    return "".join({Verdict.ASK: "a", Verdict.WAIT: ".", Verdict.DEAD: "X"}[verdict] for verdict in verdicts)


@pytest.mark.parametrize(
    ("cpu_s", "answers", "verdicts"),
    [
        ([0.0] * 6, {1, 2, 3, 4, 5}, "aaaaaa"),
        ([0.0] * 4, set(), "a..X"),
        ([0.0] * 7, {3}, "a..a..X"),
        ([float(number) for number in range(31)], set(), "a" + "." * 29 + "X"),
        ([0.0, 0.0, 0.0, 1.0, 1.0], {4}, "a...a"),
        ([0.0, 1.0, 1.0, 1.0], set(), "a..X"),
    ],
    ids=["answers", "stopped", "late", "computes without an end", "computes and answers", "stopped after it computed"],
)
def test_a_heartbeat_counts_looks(cpu_s: list[float], answers: set[int], verdicts: str) -> None:
    assert looks(cpu_s, answers) == verdicts


def statistics(accepted: int, taken: int, queued: int = 0, running: int = 0) -> dict[str, Any]:
    return {"accepted": accepted, "queued": queued, "running": running, "queue_us": [taken, 0]}


def test_progress_counts_looks_at_requests_that_nobody_takes() -> None:
    progress = Progress()
    assert progress.look(statistics(5, 5), False) == 0
    assert progress.look(statistics(5, 5), False) == 0, "nothing waits"
    assert progress.look(statistics(6, 5, queued=1), False) == 1
    assert progress.look(statistics(7, 5), False) == 2, "what came has given up"
    assert progress.look(statistics(8, 5, queued=1, running=1), False) == 0, "a session is busy"
    assert progress.look(statistics(9, 5, queued=1), True) == 0, "it waits its turn"
    assert progress.look(statistics(9, 5, queued=1), False) == 1
    assert progress.look(statistics(9, 6), False) == 0


def test_faults_end_where_they_are_and_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    faults = Faults(lambda: now_s)
    for _ in range(3):
        with faults.contained("model a"):
            raise KeyError("x")
    assert not faults.ran("model b", lambda: 1 / 0)
    assert faults.ran("model b", lambda: 1)
    assert [record.args for record in caplog.records] == [("model a",), ("model b",)]
    now_s = 61.0
    faults.log("model a", KeyError("x"))
    assert len(caplog.records) == 3


def test_a_task_that_is_kept_starts_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    runs = 0

    async def fails_twice() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("can't start new thread")

    async def run() -> None:
        await tasks.keep(fails_twice, "a watch")

    monkeypatch.setattr(asyncio, "sleep", note)
    with caplog.at_level(logging.CRITICAL):
        asyncio.run(run())
    assert (runs, waits) == (3, [0.5, 1.0])
    assert "a watch failed" in caplog.text


def test_a_worker_that_cannot_be_started_is_tried_for_ever() -> None:
    trouble, waits = None, []
    for _ in range(9):
        trouble = lifecycle.start_failed("f", trouble, "why", LIMITS, 0)
        assert trouble.retry_ns is not None
        waits.append(trouble.retry_ns / 1e9)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    served = lifecycle.crashed("f", None, "why", 0, LIMITS, 0)
    assert lifecycle.start_failed("f", served, "why", LIMITS, 0).served
    assert not lifecycle.start_failed("other files", served, "why", LIMITS, 0).served


def test_a_version_that_a_gateway_cannot_reach_is_not_available() -> None:
    first, second = spec("a", 1), spec("a", 2)

    def states(problem: str) -> list[tuple[int, State, str]]:
        instances = [
            Instance(id=1, spec=first, phase=Phase.AVAILABLE, since_ns=0, load_timeout_ns=1, routed=True),
            Instance(id=2, spec=second, phase=Phase.AVAILABLE, since_ns=0, load_timeout_ns=1, problem=problem),
        ]
        reports = lifecycle.report(wanted("a", 1, 2).versions, {}, instances, {}, {})
        return [(report.version, report.state, report.error) for report in reports]

    assert states("") == [(1, State.AVAILABLE, ""), (2, State.AVAILABLE, "")]
    assert states("no room") == [(1, State.AVAILABLE, ""), (2, State.LOADING, "no room")]
