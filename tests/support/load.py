"""Load on a server while something is done to it: every answer is checked and every failure kept."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import numpy as np

from corelane.processor.errors import RequestError
from tests.support.client import PlainClient as Client

# Between two calls of a thread: load enough to meet whatever is done to a server, and cores left for doing it.
_PAUSE_S = 0.004


class ScaleLoad:
    """Threads that call a model of `write_scale`, of which version v multiplies by v: up to 200 calls a second each.

    `answers` counts by version; `failures` has each RequestError; `wrong` each answer that its version cannot give."""

    def __init__(self, address: str, model: str, threads: int = 3, timeout_s: float = 10) -> None:
        self._address, self._model, self._timeout_s = address, model, timeout_s
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(threads)]
        self.answers: Counter[int] = Counter()
        self.failures: list[RequestError] = []
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _call(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        with Client(self._address) as client:
            while not self._end.wait(_PAUSE_S):
                x = random.random(random.integers(1, 20), dtype=np.float32)
                try:
                    outputs, version = client.predict_versioned(self._model, {"x": x}, timeout_s=self._timeout_s)
                except RequestError as error:
                    with self._lock:
                        self.failures.append(error)
                    continue
                right = np.array_equal(outputs["y"], x * np.float32(version))
                with self._lock:
                    self.answers[version] += 1
                    if not right:
                        self.wrong.append(f"version {version}: {x} gave {outputs['y']}")
