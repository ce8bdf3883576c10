"""`python -m bench.lookups`: what a row of an embedding table costs, in the caches and out of them.

Sums over bags of rows, as `pool` has them, by this processor's best kernel, checks of the ids included.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np

from bench.environment import describe, header
from corelane.kernels import instruction_sets
from corelane.kernels._native import pool_rows
from corelane.processor.plans.tables import bf16_rows, int8_rows
from corelane.terminal import table

_BAG = 20  # rows that are summed up
_HOT_ROWS = 512
_EXPLANATION = """\
ns hot, cold  time of a row, median of {rounds} rounds in turn, of {lookups} random rows each: out of {hot} rows, which
              the caches hold, and out of {cold}, which they do not
FBGEMM        it publishes 7 hot and 38 cold for int8 rows of 64, with prefetching, on one core of a Xeon 6138"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    type: str
    dimension: int
    row_bytes: int
    hot_ns: float
    cold_ns: float


def measure(type_: str, dimension: int, cold_rows: int, lookups: int, rounds: int) -> Row:
    source = np.random.default_rng(1)
    convert = {"fp32": lambda rows: rows.view(np.uint8), "bf16": bf16_rows, "int8": int8_rows}[type_]
    some = convert(source.standard_normal((_HOT_ROWS, dimension)).astype(np.float32))
    tables = [some, np.tile(some, (cold_rows // _HOT_ROWS, 1))]
    ends = np.arange(0, lookups + 1, _BAG)
    kernels = "avx512" if "avx512bw" in instruction_sets() else "avx2" if "avx2" in instruction_sets() else "scalar"
    took: list[list[float]] = [[], []]
    for _ in range(rounds):
        for place, rows in enumerate(tables):
            ids = source.integers(0, len(rows), lookups)
            began_s = time.thread_time()
            pool_rows(kernels, type_, rows, dimension, ids, ends, [], "sum")
            took[place].append((time.thread_time() - began_s) / lookups * 1e9)
    hot, cold = (statistics.median(one) for one in took)
    return Row(type=type_, dimension=dimension, row_bytes=tables[0][0].nbytes, hot_ns=hot, cold_ns=cold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a moment, out of small tables")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cold_rows, lookups, dimensions = 1 << 22, 200_000, (8, 16, 32, 64, 128)
    if options.smoke:
        options.rounds, cold_rows, lookups, dimensions = 1, 1 << 12, 2000, (8,)
    rows = [
        measure(type_, dimension, cold_rows, lookups, options.rounds)
        for dimension in dimensions
        for type_ in ("fp32", "bf16", "int8")
    ]
    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    cells = [[row.type, row.dimension, row.row_bytes, f"{row.hot_ns:.1f}", f"{row.cold_ns:.1f}"] for row in rows]
    print(table(["rows", "dimension", "bytes", "ns hot", "ns cold"], cells))
    print("\n" + _EXPLANATION.format(rounds=options.rounds, lookups=lookups, hot=_HOT_ROWS, cold=cold_rows))


if __name__ == "__main__":
    main()
