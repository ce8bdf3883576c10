"""`python -m bench.session_group`: one model on this process's cores, by TensorFlow's pools and by a SessionGroup.

TensorFlow's default pools are called from 1, 2, 4 and 8 threads, and the best of these is shown; a SessionGroup is
called through its channel, which its figures include. In turn, several times over.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from bench import models, serving
from bench.environment import describe, header
from bench.rig import Rig
from corelane.commands.common import table
from corelane.demo.clicks import generate
from processor._native import PredictResult, PredictSession, PredictSettings
from processor.engines import EngineOptions, load_engine
from processor.engines.tensorflow_engine import TensorFlowEngine
from processor.wire import messages, tensors

_DEMO = Path("build/bench-models/demo")
_DEMO_VERSIONS = {"wide and deep": 2, "deepfm": 3, "din": 4}
_DEFAULT_CALLERS = (1, 2, 4, 8)
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


class Contest:
    """One model in all forms."""

    def __init__(self, folder: Path) -> None:
        self._default = TensorFlowEngine.open(folder, b"", b"")
        engine = load_engine("tensorflow", folder, EngineOptions())
        assert isinstance(engine, TensorFlowEngine)
        self._cores = len(os.sched_getaffinity(0))
        self._one, self._shared, self._dealt = Rig(engine), Rig(engine), Rig(engine, round_robin=True)
        self._one.place(1, pinned=True)
        self._shared.place(self._cores, pinned=True)
        self._dealt.place(self._cores, pinned=True)
        self._settings = PredictSettings(
            model="m", version=1, tensor_content=False, response_bytes_max=1 << 30, tensor_bytes_max=1 << 30
        )

    def forms(self, request: bytes) -> dict[str, list[Runner]]:
        def by_default() -> Runner:
            session = PredictSession(self._default.model, self._default.make_session(), self._settings)

            def run() -> None:
                result, _, _ = session.predict(request)
                assert result is PredictResult.RAN

            return run

        forms = {f"default pools ({count})": [by_default() for _ in range(count)] for count in _DEFAULT_CALLERS}
        forms["one session"] = [lambda: self._one.call(request)] * 2
        forms["round robin"] = [lambda: self._dealt.call(request)] * (2 * self._cores)
        forms["shared queue"] = [lambda: self._shared.call(request)] * (2 * self._cores)
        return forms

    def session_mb(self, request: bytes) -> float:
        """Growth of resident memory by session."""
        memory = []
        for sessions in (1, _MANY_SESSIONS):
            self._shared.place(sessions)
            closed_loop([lambda: self._shared.call(request)] * (2 * sessions), 0.5)
            memory.append(psutil.Process().memory_info().rss)
        self._shared.place(self._cores, pinned=True)
        return (memory[1] - memory[0]) / (_MANY_SESSIONS - 1) / 1e6

    def stop(self) -> None:
        for rig in (self._one, self._shared, self._dealt):
            rig.stop()


def measure(
    contest: Contest, model: str, batch: int, inputs: dict[str, np.ndarray], rounds: int, seconds: float
) -> list[Row]:
    message = messages.PredictRequest()
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    request = message.SerializeToString()
    forms = contest.forms(request)
    found: dict[str, list[Round]] = {how: [] for how in forms}
    for runners in forms.values():
        closed_loop(runners, seconds / 4)
    for _ in range(rounds):
        for how, runners in forms.items():
            found[how].append(closed_loop(runners, seconds))
    session_mb = contest.session_mb(request)

    def rate(how: str) -> float:
        return statistics.median(one.rate for one in found[how])

    best = max((how for how in forms if how.startswith("default")), key=rate)
    shown = [best, "one session", "round robin", "shared queue"]
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
    root = serving.prepare_models()
    if smoke:
        return {"small": (root / "small/1", models.small_inputs)}
    if not all((_DEMO / f"ctr/{version}").is_dir() for version in _DEMO_VERSIONS.values()):
        print("training the demo's models (about a minute, once) ...", file=sys.stderr, flush=True)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "corelane.demo.train", str(_DEMO)]
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    clicks = generate(200, seed=1)
    found: dict[str, tuple[Path, Callable[[int], dict[str, np.ndarray]]]] = {
        name: (_DEMO / f"ctr/{version}", lambda rows: clicks.rows(0, rows).columns)
        for name, version in _DEMO_VERSIONS.items()
    }
    return {"columns": (root / "columns/1", models.columns_inputs), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one round of a moment each, on the small model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7)
    options = parser.parse_args()
    batches: tuple[int, ...] = (1, 10, 100)
    if options.smoke:
        options.rounds, options.seconds, batches = 1, 0.1, (1,)

    rows: list[Row] = []
    for model, (folder, make) in _contestants(options.smoke).items():
        contest = Contest(folder)
        for batch in batches:
            print(f"measuring {model}, batch {batch} ...", file=sys.stderr, flush=True)
            rows += measure(contest, model, batch, make(batch), options.rounds, options.seconds)
        contest.stop()

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
