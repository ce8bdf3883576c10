"""Shadow traffic: copies of answered requests for versions on trial. Their answers go to nobody but are compared."""

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from corelane.processor._native import Cancellation
from corelane.processor.channel.methods import Assignment, Entry, Method
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.control.routes import DIFFERENCE_POWERS, VersionRoute
from corelane.processor.errors import RequestError
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.router import Router
from corelane.processor.system.threads import ThreadPool
from corelane.processor.wire import kserve_tensors, messages, tensors

_THREADS = 4
_WAITING_MAX = 64
_BYTES_MAX = 2**31 - 1
_NOTHING = -99
_COMPARED = (Method.PREDICT, Method.INFER, Method.CLASSIFY, Method.REGRESS)
_FREE = (Assignment.HIGHEST, Assignment.SPLIT, Assignment.STICKY)


class Shadows:
    """Copies are made on threads of their own, as many as there is room for; the rest are counted as dropped, so that
    they hold up nobody's answer.

    Thread safety: every method from any thread. Guarded by _lock: _counts, _under_way."""

    router: Router

    def __init__(self, timeout_s: float, draw: Callable[[], float] = random.random) -> None:
        self._timeout_ns = int(timeout_s * 1e9)
        self._draw = draw
        self._threads = ThreadPool(_THREADS, "shadow")
        self._lock = threading.Lock()
        self._under_way = 0
        self._counts: Counter[tuple[CountKind, str, int, str]] = Counter()

    def copy(self, call: Call, assignment: Assignment, shadows: list[VersionRoute], answer: bytes) -> None:
        """Sends a call that left the version to us to those of the versions whose percentage it falls into."""
        if assignment not in _FREE or call.method not in _COMPARED:
            return
        for route in shadows:
            if route.shadow is None or self._draw() * 100 >= route.shadow:
                continue
            with self._lock:
                room = self._under_way < _WAITING_MAX
                self._under_way += room
            if room:
                self._threads.submit(self._run, call, route.version, answer)
            else:
                self._count(call.model, route.version, "dropped")

    def take_counts(self) -> list[Count]:
        """Of kinds SHADOW and DIFFERENCE, since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return [
            Count(kind=kind, model=model, version=version, outcome=outcome, number=number)
            for (kind, model, version, outcome), number in counts.items()
        ]

    def _run(self, call: Call, version: int, answer: bytes) -> None:
        try:
            copy = Call(
                method=call.method,
                model=call.model,
                version=version,
                request=call.request,
                deadline_ns=time.monotonic_ns() + self._timeout_ns,
                cancellation=Cancellation(),
                entry=Entry.SHADOW,
                assignment=Assignment.SHADOWED,
            )
            try:
                other = self.router.call(copy)
            except RequestError:
                self._count(call.model, version, "failed")
                return
            difference = largest_difference(call.method, answer, other)
            self._count(call.model, version, "equal" if difference == 0 else "different")
            power = _NOTHING if difference == 0 else math.inf if math.isinf(difference) else math.log10(difference)
            slot = next((str(one) for one in DIFFERENCE_POWERS if power <= one), "inf")
            with self._lock:
                self._counts[CountKind.DIFFERENCE, call.model, version, slot] += 1
        finally:
            with self._lock:
                self._under_way -= 1

    def _count(self, model: str, version: int, outcome: str) -> None:
        with self._lock:
            self._counts[CountKind.SHADOW, model, version, outcome] += 1


def largest_difference(method: Method, one: bytes, other: bytes) -> float:
    """Of two answers' numbers; infinity where they differ in names, shapes, types, texts, or in what is NaN."""
    first, second = _numbers(method, one), _numbers(method, other)
    if first.keys() != second.keys():
        return math.inf
    largest = 0.0
    for name, left in first.items():
        right = second[name]
        if left.shape != right.shape or left.dtype != right.dtype:
            return math.inf
        if left.dtype.kind in "OSU":
            if not np.array_equal(left, right):
                return math.inf
            continue
        a, b = left.astype(np.complex128), right.astype(np.complex128)
        unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if unequal.any():
            difference = np.abs(a[unequal] - b[unequal]).max()
            largest = max(largest, math.inf if np.isnan(difference) else float(difference))
    return largest


def _numbers(method: Method, answer: bytes) -> dict[str, np.ndarray]:
    if method is Method.PREDICT:
        outputs = messages.PredictResponse.FromString(answer).outputs
        return {name: tensors.decode(name, proto, bytes_max=_BYTES_MAX) for name, proto in outputs.items()}
    if method is Method.INFER:
        response = messages.ModelInferResponse.FromString(answer)
        pairs = zip(response.outputs, response.raw_output_contents, strict=True)
        return {one.name: kserve_tensors.from_raw(one.name, one.datatype, one.shape, raw) for one, raw in pairs}
    if method is Method.REGRESS:
        rows = messages.RegressionResponse.FromString(answer).result.regressions
        return {"value": np.array([row.value for row in rows], np.float32)}
    if method is Method.CLASSIFY:
        return _classes(messages.ClassificationResponse.FromString(answer).result)
    raise AssertionError("no other is copied")


def _classes(result: Any) -> dict[str, np.ndarray]:
    pairs = [(item.label, item.score) for row in result.classifications for item in row.classes]
    sizes = [len(row.classes) for row in result.classifications]
    return {
        "sizes": np.array(sizes, np.int64),
        "label": np.array([label for label, _ in pairs], object),
        "score": np.array([score for _, score in pairs], np.float32),
    }
