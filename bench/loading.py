"""`python -m bench.loading`: what one model's callers notice while another model is loaded.

Poisson arrivals on a small TensorFlow model, in turn with nothing else going on and with the model of 200 string
columns being loaded and unloaded all the while beside it. Latency is from the moment a request was due, so a stall
counts for every request that it held up.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench import models, prepared
from bench.environment import describe, header
from corelane.client import Client
from corelane.processor.errors import RequestError
from corelane.terminal import table
from tests.support import onnx_models
from tests.support.server import Server, serving

_CALLERS = 32
_LOOK_S = 0.25  # looking more often is itself a load on the callers' process


def open_loop(
    client: Client, model: str, inputs: dict, rate: float, seconds: float, seed: int
) -> tuple[list[float], int]:
    """Latencies in ms of Poisson arrivals, and how many calls failed."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds)))
    latency_ms: list[float] = []
    failed = 0
    start_s = time.perf_counter()

    def call(at_s: float) -> None:
        nonlocal failed
        try:
            client.predict(model, inputs, timeout_s=10)
            latency_ms.append((time.perf_counter() - start_s - at_s) * 1000)
        except RequestError:
            failed += 1

    with ThreadPoolExecutor(_CALLERS) as callers:
        for at_s in due_s:
            time.sleep(max(0.0, start_s + at_s - time.perf_counter()))
            callers.submit(call, at_s)
    return latency_ms, failed


class Neighbour:
    """Loads and unloads a model until told to stop. `loads` counts those that became available."""

    def __init__(self, server: Server, name: str, entry: str) -> None:
        self._server, self._name, self._entry = server, name, entry
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.loads = 0

    def __enter__(self) -> "Neighbour":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        alone = self._server.manifest.read_text()
        while not self._stop.is_set():
            self._server.apply(alone.replace("models: [", f"models: [{self._entry}, "))
            while self._server.version(self._name, 1).get("state") != "AVAILABLE":
                time.sleep(_LOOK_S)
            self.loads += 1
            self._server.apply(alone)
            while len(self._server.processes()) > 4:
                time.sleep(_LOOK_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes, on tiny ONNX models")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rate", type=float, default=50.0, help="arrivals a second (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 1.0

    rounds: dict[str, list[dict[str, float]]] = {"alone": [], "while loading": []}
    failed = loads = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.smoke:
            onnx_models.write_scale(folder / "small/1", 1)
            onnx_models.write_scale(folder / "columns/1", 1)
            root, inputs = folder, {"x": np.zeros(1, np.float32)}
        else:
            root, inputs = prepared.models("small", "columns"), models.small_inputs(1)
        engine = "onnxruntime" if options.smoke else "tensorflow"
        entry = f"{{name: columns, path: {root / 'columns'}, engine: {engine}}}"
        with (
            serving(folder, f"models: [{{name: small, path: {root / 'small'}, engine: {engine}}}]") as server,
            server.client() as client,
        ):
            for seed in range(options.rounds):
                for condition, found in rounds.items():
                    print(f"round {seed + 1} of {options.rounds}: {condition} ...", file=sys.stderr, flush=True)
                    arrivals = (client, "small", inputs, options.rate, options.seconds, seed)
                    if condition == "alone":
                        latency_ms, failures = open_loop(*arrivals)
                    else:
                        with Neighbour(server, "columns", entry) as neighbour:
                            latency_ms, failures = open_loop(*arrivals)
                        loads += neighbour.loads
                    failed += failures
                    found.append({f"p{p}": float(np.percentile(latency_ms, p)) for p in (50, 90, 99)})

    rows = []
    for name in ("p50", "p90", "p99"):
        alone, loading = ([one[name] for one in found] for found in rounds.values())
        ratio = statistics.median(b / a for a, b in zip(alone, loading, strict=True))
        rows.append(
            {
                "latency": name,
                "alone_ms": statistics.median(alone),
                "loading_ms": statistics.median(loading),
                "ratio": ratio,
            }
        )
    if options.json:
        print(json.dumps({"environment": describe(), "rows": rows, "failed": failed, "loads": loads}, indent=2))
        return
    print(header())
    print()
    cells = [[r["latency"], f"{r['alone_ms']:.2f}", f"{r['loading_ms']:.2f}", f"{r['ratio']:.2f}"] for r in rows]
    print(table(["latency", "alone ms", "while loading ms", "ratio"], cells))
    print(f"\n{loads} loads of the other model, {failed} failed calls; {options.rate:g} arrivals a second,")
    print(f"medians of {options.rounds} rounds of {options.seconds:g} s; the ratio is round by round.")


if __name__ == "__main__":
    main()
