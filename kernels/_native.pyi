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

def sum_rows(
    kernels: str, type: str, rows: bytes, dimension: int, ids: list[int], weights: list[float], scale: float
) -> np.ndarray:
    """The weighted sum of rows of a table. `kernels`: scalar, avx2 or avx512; ValueError without such a processor."""
