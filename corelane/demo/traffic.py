"""Callers of the demo's models."""

import threading
import time
from collections import Counter, defaultdict

import numpy as np

from corelane.client import Client
from corelane.demo.clicks import Clicks
from corelane.processor.errors import RequestError

_CLIENTS = 2
_PAUSE_S = 0.002  # between two calls of a client: the demo's callers share the cores with its server
_BATCHES = {1: 0.6, 10: 0.3, 100: 0.1}
_MODELS = {"ctr": 0.6, "ctr_dlrm": 0.2, "ctr_dcn": 0.2}
_TIMEOUT_S = 20.0

Key = tuple[str, int]  # a model, and the version that answered


def inputs_of(model: str, rows: Clicks) -> dict[str, np.ndarray]:
    """What a demo model takes."""
    return rows.columns if model == "ctr" else rows.ids()


class Traffic:
    """Mixed calls of all models between `start` and `stop`, or in a `with`; a failed call is in `errors`.

    Thread safety: all but `start` and `stop` from any thread."""

    def __init__(self, client: Client, rows: Clicks) -> None:
        self._client = client
        self._rows = rows
        self._lock = threading.Lock()
        self._latency_ms: dict[Key, list[float]] = defaultdict(list)
        self._errors: list[RequestError] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(seed,), daemon=True) for seed in range(_CLIENTS)]
        self._began_s = 0.0
        self.seconds = 0.0

    def __enter__(self) -> "Traffic":
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._began_s

    @property
    def errors(self) -> list[RequestError]:
        with self._lock:
            return list(self._errors)

    def answers(self) -> Counter[Key]:
        """How many calls each version has answered."""
        with self._lock:
            return Counter({key: len(times) for key, times in self._latency_ms.items()})

    def latency_ms(self, key: Key) -> list[float]:
        with self._lock:
            return list(self._latency_ms.get(key, ()))

    def _call(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        models, batches = list(_MODELS), list(_BATCHES)
        while not self._stopped.wait(_PAUSE_S):
            model = str(random.choice(models, p=list(_MODELS.values())))
            batch = int(random.choice(batches, p=list(_BATCHES.values())))
            start = int(random.integers(0, len(self._rows.labels) - batch))
            inputs = inputs_of(model, self._rows.rows(start, start + batch))
            began_s = time.perf_counter()
            try:
                _, version = self._client.predict_versioned(model, inputs, timeout_s=_TIMEOUT_S)
            except RequestError as error:
                with self._lock:
                    self._errors.append(error)
                continue
            elapsed_ms = (time.perf_counter() - began_s) * 1000
            with self._lock:
                self._latency_ms[model, version].append(elapsed_ms)
