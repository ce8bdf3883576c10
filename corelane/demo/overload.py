"""`python -m corelane.demo.overload ADDRESS MODEL BASELINE TRIAL SECONDS`: what callers of one version notice of
another's overload.

Calls a model's BASELINE version at a steady pace, first alone, then beside more calls of its TRIAL version than that
can answer. Prints one JSON object: alone_ms and beside_ms (of each call, from when it was due), trial_per_s (answers
of the version in overload), failed (calls of the baseline).
"""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import grpc
import numpy as np

from corelane.demo.clicks import generate
from corelane.demo.traffic import inputs_of
from corelane.processor.wire import messages, tensors

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_PACE_S = 0.01
_TRIAL_ROWS = 200
_TRIAL_CALLS = 8  # at once
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """Times in ms of the baseline's calls, from when each was due."""

    alone_ms: list[float]
    beside_ms: list[float]
    trial_per_s: float
    failed: int

    @property
    def p99_ms(self) -> tuple[float, float]:
        """Alone, and beside the other."""
        alone, beside = (float(np.percentile(times, 99)) for times in (self.alone_ms, self.beside_ms))
        return alone, beside


def measure(address: str, model: str, baseline: int, trial: int, seconds: float) -> Overload:
    """In a process of its own: callers that share an interpreter with others measure each other."""
    arguments = [address, model, str(baseline), str(trial), str(seconds)]
    command = [sys.executable, "-P", "-m", "corelane.demo.overload", *arguments]
    return Overload(**json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))


def _request(model: str, version: int, rows: int) -> bytes:
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = version
    for name, values in inputs_of(model, generate(rows, seed=13)).items():
        tensors.encode(values, request.inputs[name])
    return bytes(request.SerializeToString())


class _Baseline:
    """Steady calls, one after the other; a late one delays the next, and counts from when it was due."""

    def __init__(self, call: grpc.UnaryUnaryMultiCallable, request: bytes) -> None:
        self._call, self._request = call, request
        self.failed = 0

    def run(self, seconds: float) -> list[float]:
        times_ms = []
        began_s = time.perf_counter()
        for number in range(round(seconds / _PACE_S)):
            due_s = began_s + number * _PACE_S
            time.sleep(max(0.0, due_s - time.perf_counter()))
            try:
                self._call(self._request, timeout=_TIMEOUT_S)
            except grpc.RpcError:
                self.failed += 1
                continue
            times_ms.append((time.perf_counter() - due_s) * 1000)
        return times_ms


class _Trial:
    """As many calls as the version takes, and some that it has no room for."""

    def __init__(self, call: grpc.UnaryUnaryMultiCallable, request: bytes) -> None:
        self._call, self._request = call, request
        self._answers = [0] * _TRIAL_CALLS
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(_TRIAL_CALLS)]

    @property
    def answers(self) -> int:
        return sum(self._answers)

    def __enter__(self) -> "_Trial":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        while not self._stopped.is_set():
            try:
                self._call(self._request, timeout=_TIMEOUT_S)
                self._answers[index] += 1
            except grpc.RpcError:
                time.sleep(0.01)  # refused: it has as many as it may


def _main(address: str, model: str, baseline: int, trial: int, seconds: float) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(_METHOD)
        steady = _Baseline(call, _request(model, baseline, 1))
        steady.run(0.3)
        steady.failed = 0
        alone_ms = steady.run(seconds)
        with _Trial(call, _request(model, trial, _TRIAL_ROWS)) as flood:
            time.sleep(0.5)
            before, began_s = flood.answers, time.perf_counter()
            beside_ms = steady.run(seconds)
            trial_per_s = (flood.answers - before) / (time.perf_counter() - began_s)
    result = {"alone_ms": alone_ms, "beside_ms": beside_ms, "trial_per_s": trial_per_s, "failed": steady.failed}
    print(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
