"""Which of two engines costs less on the same requests, measured in turn."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corelane.processor.engines import Engine
from corelane.processor.errors import RequestError
from corelane.processor.loading.profiling import runner, taken_inputs, with_rows

BATCHES = (1, 10, 100)
_ROUNDS = 5
_SECONDS = 0.03  # of each engine, each round


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU ms of this process for a request of so many rows: medians of rounds in turn."""

    rows: int
    original_ms: float
    other_ms: float

    @property
    def ratio(self) -> float:
        return self.original_ms / self.other_ms


def gain(costs: Sequence[Cost]) -> float:
    """The geometric mean of the ratios; 1 if there are none."""
    return statistics.geometric_mean([cost.ratio for cost in costs]) if costs else 1.0


def worst(costs: Sequence[Cost]) -> float:
    """The ratio of the batch that gains least; 1 if there are none."""
    return min((cost.ratio for cost in costs), default=1.0)


def compare_cost(original: Engine, other: Engine, folder: Path) -> list[Cost]:
    """Of the default signature, or the first, with recorded inputs of `folder` or made-up ones; empty if all are
    refused."""
    signatures = original.signatures()
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    inputs = taken_inputs(original, folder, signature)
    if inputs is None:
        return []
    engines = [(engine, engine.make_session()) for engine in (original, other)]
    found, seen = [], set()
    for batch in BATCHES:
        rows, some = with_rows(signature, inputs, batch)
        if rows in seen:
            continue
        seen.add(rows)
        runs = [runner(engine, session, engine.signatures()[signature.name], some) for engine, session in engines]
        try:
            took = [[_milliseconds(run) for run in runs] for _ in range(_ROUNDS)]
        except RequestError:
            continue  # refused with so many rows
        before, after = (statistics.median(one) for one in zip(*took, strict=True))
        found.append(Cost(rows=rows, original_ms=before, other_ms=after))
    return found


def _milliseconds(run: Callable[[], object]) -> float:
    run()
    count, end_s, began_s = 0, time.perf_counter() + _SECONDS, time.process_time()
    while count == 0 or time.perf_counter() < end_s:
        run()
        count += 1
    return (time.process_time() - began_s) * 1000 / count
