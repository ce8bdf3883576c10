"""`python -m bench.session_group`: one model on this process's cores, by TensorFlow's pools and by a SessionGroup.

TensorFlow's default pools are called from 1, 2, 4 and 8 threads, and the best of these is shown; a SessionGroup is
called through its channel, which its figures include, with the allocator that workers have. In turn, several times.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import models, prepared
from bench.environment import describe, header
from bench.rig import Rig
from corelane.processor._native import PredictResult, PredictSession, PredictSettings
from corelane.processor.engines import EngineOptions, choose_engine, load_engine
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.wire import messages, tensors
from corelane.processor.worker.allocator import worker_environment
from corelane.terminal import table

_DEFAULT_CALLERS = {f"default pools ({count})": count for count in (1, 2, 4, 8)}
_GROUP_FORMS = ("one session", "round robin", "shared queue")
_MANY_SESSIONS = 8

_EXPLANATION = """\
default pools  TensorFlow as it comes, called from as many threads as gave the most runs (in brackets)
one session    one thread that runs the whole graph, on one core
round robin    a session on each core, requests dealt out in turn
shared queue   a session on each core, idle sessions pull
runs/s         in a closed loop of twice as many callers as sessions, median of {rounds} rounds of {seconds:g} s
p99 ms         of a call, waiting included
CPU us         of the whole process, callers included, by run
switches       context switches of the whole process, by run
MB/session     growth of resident memory by session, from one to {many}
ratio          runs/s by the best default's, round by round"""

Runner = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    rate: float
    p99_ms: float
    cpu_us: float
    switches: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model: str
    batch: int
    how: str
    rate: float
    p99_ms: float
    cpu_us: float
    switches: float
    session_mb: float | None
    ratio: float


def closed_loop(runners: list[Runner], seconds: float) -> Round:
    """Threads that each run, again and again."""
    latency_ms: list[float] = []
    start, done, counted = (threading.Barrier(len(runners) + 1) for _ in range(3))

    def loop(run: Runner) -> None:
        own = []
        start.wait()
        end_s = time.perf_counter() + seconds
        while (began_s := time.perf_counter()) < end_s:
            run()
            own.append((time.perf_counter() - began_s) * 1000)
        latency_ms.extend(own)
        done.wait()
        counted.wait()

    threads = [threading.Thread(target=loop, args=(run,)) for run in runners]
    for thread in threads:
        thread.start()
    start.wait()
    began_s, cpu_s, switches = time.perf_counter(), time.process_time(), _switches()
    done.wait()
    ended_s, switches_by_end, count = time.perf_counter(), _switches(), len(latency_ms)
    cpu_s = time.process_time() - cpu_s
    counted.wait()
    for thread in threads:
        thread.join()
    return Round(
        rate=count / (ended_s - began_s),
        p99_ms=float(np.percentile(latency_ms, 99)),
        cpu_us=cpu_s * 1e6 / count,
        switches=(switches_by_end - switches) / count,
    )


def _switches() -> int:
    """Context switches of all threads of this process that live."""
    lines = [line for task in Path("/proc/self/task").iterdir() for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


class DefaultPools:
    """TensorFlow as it comes."""

    def __init__(self, folder: Path) -> None:
        self._engine = TensorFlowEngine.open(folder, b"", b"")
        self._settings = PredictSettings(
            model="m", version=1, tensor_content=False, response_bytes_max=1 << 30, tensor_bytes_max=1 << 30
        )

    def runners(self, how: str, request: bytes) -> list[Runner]:
        return [self._runner(request) for _ in range(_DEFAULT_CALLERS[how])]

    def _runner(self, request: bytes) -> Runner:
        session = PredictSession(self._engine.model, self._engine.make_session(), self._settings)

        def run() -> None:
            result, _, _ = session.predict(request)
            assert result is PredictResult.RAN

        return run


class Group:
    """A SessionGroup behind its channel."""

    def __init__(self, folder: Path) -> None:
        engine = load_engine("tensorflow", folder, EngineOptions())
        assert isinstance(engine, TensorFlowEngine)
        self._cores = len(os.sched_getaffinity(0))
        self._rigs = {how: Rig(engine, round_robin=how == "round robin") for how in _GROUP_FORMS}
        for how, rig in self._rigs.items():
            rig.place(1 if how == "one session" else self._cores, pinned=True)

    def runners(self, how: str, request: bytes) -> list[Runner]:
        callers = 2 if how == "one session" else 2 * self._cores
        return [lambda: self._rigs[how].call(request)] * callers

    def session_mb(self, request: bytes) -> float:
        """Growth of resident memory by session."""
        memory, rig = [], self._rigs["shared queue"]
        for sessions in (1, _MANY_SESSIONS):
            rig.place(sessions)
            closed_loop([lambda: rig.call(request)] * (2 * sessions), 0.5)
            memory.append(psutil.Process().memory_info().rss)
        rig.place(self._cores, pinned=True)
        return float(memory[1] - memory[0]) / (_MANY_SESSIONS - 1) / 1e6


def lane(kind: str, folder: Path) -> None:
    """A contestant's process: answers each line of [how, request file, seconds] with a round, or with MB a session."""
    contestant: DefaultPools | Group = DefaultPools(folder) if kind == "default" else Group(folder)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        how, file, seconds = json.loads(line)
        request = Path(file).read_bytes()
        if how == "memory":
            assert isinstance(contestant, Group)
            print(json.dumps(contestant.session_mb(request)), flush=True)
        else:
            print(json.dumps(asdict(closed_loop(contestant.runners(how, request), seconds))), flush=True)
    os._exit(0)


class Lane:
    """A contestant in a process of its own: the group's with the allocator that workers have, the other's as it is."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.session_group", "--lane", kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment() if kind == "group" else None,
        )
        assert self._read() == "ready"

    def ask(self, how: str, request: Path, seconds: float) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([how, str(request), seconds]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def measure(lanes: dict[str, Lane], model: str, batch: int, request: Path, rounds: int, seconds: float) -> list[Row]:
    forms = {**dict.fromkeys(_DEFAULT_CALLERS, "default"), **dict.fromkeys(_GROUP_FORMS, "group")}
    found: dict[str, list[Round]] = {how: [] for how in forms}
    for how, kind in forms.items():
        lanes[kind].ask(how, request, seconds / 4)
    for _ in range(rounds):
        for how, kind in forms.items():
            found[how].append(Round(**lanes[kind].ask(how, request, seconds)))
    session_mb = lanes["group"].ask("memory", request, seconds)

    def rate(how: str) -> float:
        return statistics.median(one.rate for one in found[how])

    best = max(_DEFAULT_CALLERS, key=rate)
    shown = [best, *_GROUP_FORMS]
    return [
        Row(
            model=model,
            batch=batch,
            how=how,
            rate=rate(how),
            p99_ms=statistics.median(one.p99_ms for one in found[how]),
            cpu_us=statistics.median(one.cpu_us for one in found[how]),
            switches=statistics.median(one.switches for one in found[how]),
            session_mb=session_mb if how == "shared queue" else None,
            ratio=statistics.median(a.rate / b.rate for a, b in zip(found[how], found[best], strict=True)),
        )
        for how in shown
    ]


def _contestants(smoke: bool) -> dict[str, tuple[Path, Callable[[int], dict[str, np.ndarray]]]]:
    """{model: (folder of the version, inputs of a batch)}"""
    root = prepared.models("small" if smoke else "columns")
    if smoke:
        return {"small": (root / "small/1", models.small_inputs)}
    clicks = prepared.demo_clicks(200)
    found: dict[str, tuple[Path, Callable[[int], dict[str, np.ndarray]]]] = {
        name: (folder, lambda rows: clicks.rows(0, rows).columns)
        for name, folder in prepared.demo_models().items()
        if choose_engine(folder) == "tensorflow"
    }
    return {"columns": (root / "columns/1", models.columns_inputs), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one round of a moment each, on the small model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lane", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7)
    options = parser.parse_args()
    batches: tuple[int, ...] = (1, 10, 100)
    if options.smoke:
        options.rounds, options.seconds, batches = 1, 0.1, (1,)

    if options.lane:
        lane(options.lane[0], Path(options.lane[1]))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for model, (folder, make) in _contestants(options.smoke).items():
            lanes = {kind: Lane(kind, folder) for kind in ("default", "group")}
            for batch in batches:
                print(f"measuring {model}, batch {batch} ...", file=sys.stderr, flush=True)
                message = messages.PredictRequest()
                for name, array in make(batch).items():
                    tensors.encode(array, message.inputs[name])
                request = Path(temporary) / "request"
                request.write_bytes(message.SerializeToString())
                rows += measure(lanes, model, batch, request, options.rounds, options.seconds)
            for one in lanes.values():
                one.stop()

    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    print()
    columns = ["model", "batch", "how", "runs/s", "p99 ms", "CPU us", "switches", "MB/session", "ratio"]
    print(
        table(
            columns,
            [
                [
                    row.model,
                    row.batch,
                    row.how,
                    f"{row.rate:.0f}",
                    f"{row.p99_ms:.2f}",
                    f"{row.cpu_us:.0f}",
                    f"{row.switches:.1f}",
                    None if row.session_mb is None else f"{row.session_mb:.1f}",
                    f"{row.ratio:.2f}",
                ]
                for row in rows
            ],
        )
    )
    print()
    print(_EXPLANATION.format(rounds=options.rounds, seconds=options.seconds, many=_MANY_SESSIONS))


if __name__ == "__main__":
    main()
