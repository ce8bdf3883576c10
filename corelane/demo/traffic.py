"""Mixed traffic: a few closed-loop clients over the demo's models."""

import threading
import time
from collections import defaultdict

import numpy as np

from corelane.client import Client
from corelane.demo.clicks import Clicks
from processor.errors import RequestError

_CLIENTS = 4
_BATCHES = {1: 0.6, 10: 0.3, 100: 0.1}
_MODELS = {"ctr": 0.6, "ctr_dlrm": 0.2, "ctr_dcn": 0.2}


def inputs_of(model: str, rows: Clicks) -> dict[str, np.ndarray]:
    """What a demo model takes."""
    return rows.columns if model == "ctr" else rows.ids()


class Traffic:
    """After `run`: `latency_ms` of each (model, version that answered), `errors`, and how long it took."""

    def __init__(self, client: Client, rows: Clicks) -> None:
        self._client = client
        self._rows = rows
        self._lock = threading.Lock()
        self.latency_ms: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.errors: list[RequestError] = []
        self.seconds = 0.0

    def run(self, seconds: float) -> None:
        started_s = time.monotonic()
        end_s = started_s + seconds
        threads = [threading.Thread(target=self._call, args=(seed, end_s), daemon=True) for seed in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[-1].join(2.0)
            with self._lock:
                calls = sum(len(times) for times in self.latency_ms.values())
            print(f"  {time.monotonic() - started_s:4.1f} s  {calls} calls, {len(self.errors)} failed", flush=True)
            for thread in threads:
                if time.monotonic() >= end_s:
                    thread.join()
        self.seconds = time.monotonic() - started_s

    def _call(self, seed: int, end_s: float) -> None:
        random = np.random.default_rng(seed)
        while time.monotonic() < end_s:
            model = str(random.choice(list(_MODELS), p=list(_MODELS.values())))
            batch = int(random.choice(list(_BATCHES), p=list(_BATCHES.values())))
            start = int(random.integers(0, len(self._rows.labels) - batch))
            rows = self._rows.rows(start, start + batch)
            inputs = inputs_of(model, rows)
            began_s = time.perf_counter()
            try:
                _, version = self._client.predict_versioned(model, inputs, timeout_s=5)
            except RequestError as error:
                with self._lock:
                    self.errors.append(error)
                continue
            elapsed_ms = (time.perf_counter() - began_s) * 1000
            with self._lock:
                self.latency_ms[model, version].append(elapsed_ms)
