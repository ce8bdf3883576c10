from typing import Any

import numpy as np

def instruction_sets() -> list[str]:
    """Names of the vector instruction sets that processor and operating system support."""

def fingerprint64(text: bytes) -> int:
    """FarmHash's Fingerprint64, by which StringToHashBucketFast chooses its bucket."""

def run_program(
    program: dict[str, Any], feeds: list[tuple[list[int], list[bytes], list[int], list[float]]]
) -> list[np.ndarray]:
    """Runs a program of features once; its outputs as [batch, width]. ValueError for values at fault."""

def pool_rows(
    kernels: str,
    type: str,
    table: bytes | np.ndarray,
    dimension: int,
    ids: list[int] | np.ndarray,
    rows: list[int] | np.ndarray,
    weights: list[float] | np.ndarray,
    combiner: str,
) -> np.ndarray:
    """Sums of rows of a table, [len(rows) - 1, dimension]. `kernels`: scalar, avx2 or avx512; ValueError without such a
    processor."""

def gather_rows(
    kernels: str, type: str, table: bytes | np.ndarray, dimension: int, ids: list[int] | np.ndarray
) -> np.ndarray:
    """Rows of a table, [len(ids), dimension]. `kernels` as of `pool_rows`."""

def bucketize(kernels: str, values: list[float], bounds: list[float]) -> list[int]:
    """How many of the sorted bounds are not above each value. `kernels` as of `pool_rows`."""
