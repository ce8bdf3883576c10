"""`python -m bench.isolation`: what callers of one model notice of others that are in overload or being loaded.

A baseline gets Poisson arrivals; two A/B versions get more than they can answer; a fourth model is loaded and unloaded
all the while. The same is done, in turn, to three servers:

  one process   all models in one process with TensorFlow's default pools, as servers do today
  no roles      Corelane with `host.scheduler: disabled`: a session a core and version, where the kernel puts them
  corelane      the baseline has a core of its own, the A/B versions share the rest
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil

from bench import models, prepared, stalls
from bench.environment import describe, header
from corelane.processor.engines import choose_engine
from corelane.processor.wire import messages, tensors
from corelane.processor.worker.allocator import worker_environment
from corelane.terminal import table
from tests.support import onnx_models
from tests.support.server import Server, serving

_SERVED = ("base", "trial-a", "trial-b")
_TRIALS = _SERVED[1:]
_NEIGHBOUR = "neighbour"
_PAUSE_S = 1.0
_SETTLE_S = 5.0
_LOOK_S = 0.5  # looking more often is itself a load

_EXPLANATION = """\
alone, beside   p99 in ms of the baseline's answers, from when a call was due: by itself, and beside the others
ratio           beside by alone, median of the rounds; target for corelane: 1.25
base in time    the baseline's calls answered within {base_slo:g} ms, of all
A/B answers/s   of both A/B versions, within {trial_slo:g} ms
goodput         answers in time a second, of all versions; target: corelane 1.3 of one process
loads           of the fourth model while it was measured
Offered: baseline {base_rate:g}/s, each A/B version {trial_rate:g}/s, batches of {batch} rows;
{rounds} rounds of {seconds:g} s.
The load generator runs on the same cores: {generator:.2f} of a core on average. Of the baseline's calls {held_up:.0%}
are left out of p99: the host took a core away while they were under way (bench/stalls.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Rates a second, SLOs in ms."""

    batch: int
    base_rate: float
    base_slo: float
    trial_rate: float
    trial_slo: float


class Contestant(Protocol):
    """A server of _SERVED, and of _NEIGHBOUR now and then."""

    address: str

    def load_neighbour(self) -> None: ...
    def unload_neighbour(self) -> None: ...


class OneProcess:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.one_process", "127.0.0.1:0", *(f"{name}={folder}" for name in _SERVED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment(),
        )
        self.address = f"127.0.0.1:{self._read()}"

    def load_neighbour(self) -> None:
        self._ask(f"load {_NEIGHBOUR}={self._folder}")

    def unload_neighbour(self) -> None:
        self._ask(f"unload {_NEIGHBOUR}")

    def _ask(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        assert self._read() == "done"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.communicate()


class Corelane:
    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._manifest = server.manifest.read_text()
        engine = choose_engine(folder)
        self._entry = f"{{name: {_NEIGHBOUR}, path: {folder.parent}, engine: {engine}, role: ab, precision: fp32}}"
        self.address = server.grpc

    def load_neighbour(self) -> None:
        self._server.apply(self._manifest.replace("models: [", f"models: [{self._entry}, "))
        while self._server.version(_NEIGHBOUR, 1).get("state") != "AVAILABLE":
            time.sleep(_LOOK_S)

    def unload_neighbour(self) -> None:
        self._server.apply(self._manifest)
        while any(f"{_NEIGHBOUR}/1" in _command(one) for one in self._server.processes()):
            time.sleep(_LOOK_S)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []  # it has ended by now


def _manifest(folder: Path, load: Load, scheduler: str) -> str:
    entries = [
        f"{{name: {name}, path: {folder.parent}, engine: {choose_engine(folder)}, precision: fp32, "
        f"role: {'ab' if name in _TRIALS else 'baseline'}, "
        f"slo_p99_ms: {load.trial_slo if name in _TRIALS else load.base_slo}, "
        f"queue: {{timeout_ms: {0.8 * (load.trial_slo if name in _TRIALS else 10 * load.base_slo):g}}}}}"
        for name in _SERVED
    ]
    return f"host: {{scheduler: {scheduler}}}\nmodels: [{', '.join(entries)}]"


@dataclass(slots=True)
class Found:
    """Of one contestant: a value for each round."""

    alone_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)
    base_in_time: list[float] = field(default_factory=list)
    trial_rate: list[float] = field(default_factory=list)
    trial_alone_rate: list[float] = field(default_factory=list)
    goodput: list[float] = field(default_factory=list)
    generator_cores: list[float] = field(default_factory=list)
    loads: int = 0
    calls: int = 0  # of the baseline
    held_up: int = 0  # of those, by the machine
    timeline: list[tuple[float, float]] = field(default_factory=list)  # of the baseline, beside the others


class _Neighbour:
    """Loads and unloads the fourth model until told to stop."""

    def __init__(self, contestant: Contestant) -> None:
        self.loads = 0
        self._contestant = contestant
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._contestant.load_neighbour()
            self.loads += 1
            self._contestant.unload_neighbour()

    def __enter__(self) -> "_Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def generate(streams: dict[str, dict[str, Any]], seconds: float, folder: Path) -> dict[str, Any]:
    """What `bench.generator` found; `held_up` says of each call whether the machine stood still meanwhile."""
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"seconds": seconds, "streams": streams}))
    with stalls.watch() as spans:
        found: dict[str, Any] = json.loads(
            subprocess.check_output([sys.executable, "-m", "bench.generator", str(spec)])
        )
    for one in found["streams"].values():
        one["held_up"] = [
            stalls.overlaps(found["start_s"] + at_s, found["start_s"] + at_s + ms / 1000, spans)
            for at_s, ms in one["calls"]
        ]
    return found


def measure(contestant: Contestant, load: Load, seconds: float, seed: int, folder: Path, found: Found) -> None:
    """One round: the baseline alone, the A/B versions alone, all together beside loads."""
    streams = {
        name: {
            "address": contestant.address,
            "request": str(folder / f"{name}.request"),
            "rate": load.trial_rate if name in _TRIALS else load.base_rate,
            "timeout_s": max(10 * load.base_slo, load.trial_slo) / 1000,
            "seed": seed * 10 + index,
        }
        for index, name in enumerate(_SERVED)
    }
    alone = generate({"base": streams["base"]}, seconds, folder)["streams"]["base"]
    found.alone_ms.append(_p99(alone))
    time.sleep(_PAUSE_S)
    trials = generate({name: streams[name] for name in _TRIALS}, seconds / 2, folder)["streams"]
    found.trial_alone_rate.append(_in_time(trials, load) / (seconds / 2))
    time.sleep(_PAUSE_S)
    with _Neighbour(contestant) as neighbour:
        beside = generate(streams, seconds, folder)
    time.sleep(_PAUSE_S)
    base = beside["streams"]["base"]
    found.loads += neighbour.loads
    found.beside_ms.append(_p99(base))
    base_in_time = sum(ms <= load.base_slo for _, ms in base["calls"])
    found.base_in_time.append(base_in_time / max(1, len(base["calls"]) + base["failed"]))
    trial_in_time = _in_time({name: beside["streams"][name] for name in _TRIALS}, load)
    found.trial_rate.append(trial_in_time / seconds)
    found.goodput.append((base_in_time + trial_in_time) / seconds)
    found.generator_cores.append(beside["cpu_s"] / seconds)
    found.held_up += sum(alone["held_up"]) + sum(base["held_up"])
    found.calls += len(alone["calls"]) + len(base["calls"])
    pairs = zip(base["calls"], base["held_up"], strict=True)
    found.timeline += [(at_s + (seed - 1) * seconds, ms) for (at_s, ms), held_up in pairs if not held_up]


def _p99(stream: dict[str, Any]) -> float:
    """Of the calls that the machine did not hold up. One that failed took forever."""
    times = [ms for (_, ms), held_up in zip(stream["calls"], stream["held_up"], strict=True) if not held_up]
    times += [float("inf")] * stream["failed"]
    return float(np.percentile(times, 99, method="higher"))


def _in_time(streams: dict[str, dict[str, Any]], load: Load) -> int:
    return sum(ms <= load.trial_slo for one in streams.values() for _, ms in one["calls"])


@contextlib.contextmanager
def _contestants(version: Path, load: Load, folder: Path, smoke: bool) -> Iterator[dict[str, Contestant]]:
    with contextlib.ExitStack() as stack:
        found: dict[str, Contestant] = {}
        if not smoke:
            one = OneProcess(version)
            stack.callback(one.stop)
            found["one process"] = one
        for name, scheduler in (("no roles", "disabled"), ("corelane", "auto")):
            place = folder / scheduler
            place.mkdir()
            server = stack.enter_context(serving(place, _manifest(version, load, scheduler)))
            for model in _SERVED:
                server.wait_state(model, 1, "AVAILABLE")
            found[name] = Corelane(server, version)
        yield found


def _plot(path: Path, results: dict[str, Found], load: Load, seconds: float) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    step = max(1.0, seconds / 10)
    for name, found in results.items():
        end = max((at for at, _ in found.timeline), default=0.0)
        edges = np.arange(0, end + step, step)
        values = [[ms for at, ms in found.timeline if low <= at < low + step] for low in edges]
        points = [(low, np.percentile(ms, 99)) for low, ms in zip(edges, values, strict=True) if ms]
        axes.plot(*zip(*points, strict=True), label=name, drawstyle="steps-post")
    axes.axhline(load.base_slo, color="grey", linewidth=0.8, linestyle=":", label="SLO")
    axes.set_yscale("log")
    axes.set_xlabel(f"seconds of load beside the others (windows of {step:g} s)")
    axes.set_ylabel("baseline's p99, ms")
    axes.legend(loc="upper right", ncols=4, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a round of seconds, on a tiny ONNX model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="p99 over time (needs matplotlib)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    load = Load(batch=100, base_rate=12.0, base_slo=150.0, trial_rate=40.0, trial_slo=500.0)
    if options.smoke:
        options.rounds, options.seconds = 1, 2.0

    results: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.smoke:
            version = onnx_models.write_scale(folder / "scale/1", 1)
            inputs: dict[str, np.ndarray] = {"x": np.zeros(load.batch, np.float32)}
        else:
            version = prepared.models("columns") / "columns/1"
            inputs = models.columns_inputs(load.batch)
        for name in _SERVED:
            message = messages.PredictRequest()
            message.model_spec.name = name
            for alias, array in inputs.items():
                tensors.encode(array, message.inputs[alias])
            (folder / f"{name}.request").write_bytes(message.SerializeToString())
        print("starting the servers ...", file=sys.stderr, flush=True)
        with _contestants(version, load, folder, options.smoke) as contestants:
            time.sleep(0 if options.smoke else _SETTLE_S)
            for seed in range(1, options.rounds + 1):
                for name, contestant in contestants.items():
                    print(f"round {seed} of {options.rounds}: {name} ...", file=sys.stderr, flush=True)
                    found = results.setdefault(name, Found())
                    measure(contestant, load, options.seconds, seed, folder, found)
    if options.plot:
        _plot(options.plot, results, load, options.seconds)
    _show(results, load, options)


def _show(results: dict[str, Found], load: Load, options: argparse.Namespace) -> None:
    median = statistics.median
    rows = []
    for name, found in results.items():
        against = results.get("one process", found)
        rows.append(
            {
                "server": name,
                "alone_ms": median(found.alone_ms),
                "beside_ms": median(found.beside_ms),
                "ratio": median(b / a for a, b in zip(found.alone_ms, found.beside_ms, strict=True)),
                "base_in_time": median(found.base_in_time),
                "trial_rate": median(found.trial_rate),
                "trial_alone_rate": median(found.trial_alone_rate),
                "goodput": median(found.goodput),
                "goodput_ratio": median(b / max(a, 1e-9) for a, b in zip(against.goodput, found.goodput, strict=True)),
                "loads": found.loads,
            }
        )
    if options.json:
        print(json.dumps({"environment": describe(), "load": asdict(load), "rows": rows}, indent=2))
        return
    print(header())
    print()
    columns = ["server", "alone ms", "beside ms", "ratio", "base in time", "A/B answers/s", "without baseline"]
    columns += ["goodput", "ratio", "loads"]
    cells = [
        [
            row["server"],
            f"{row['alone_ms']:.1f}",
            f"{row['beside_ms']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['base_in_time']:.0%}",
            f"{row['trial_rate']:.1f}",
            f"{row['trial_alone_rate']:.1f}",
            f"{row['goodput']:.1f}",
            f"{row['goodput_ratio']:.2f}",
            row["loads"],
        ]
        for row in rows
    ]
    print(table(columns, cells))
    print()
    generator = median([cores for found in results.values() for cores in found.generator_cores])
    print(
        _EXPLANATION.format(
            **asdict(load),
            rounds=options.rounds,
            seconds=options.seconds,
            generator=generator,
            held_up=sum(one.held_up for one in results.values()) / sum(one.calls for one in results.values()),
        )
    )


if __name__ == "__main__":
    main()
