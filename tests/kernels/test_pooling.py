"""Sums of table rows: every variant of the kernel against the contract in float64."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels._native import sum_rows

ROWS = 20


def table(type_: str, dimension: int, source: np.random.Generator) -> tuple[bytes, np.ndarray]:
    """A table's bytes, and the numbers that they stand for."""
    if type_ == "int8":
        scales = source.random((ROWS, 2), np.float32)
        quantised = source.integers(0, 256, (ROWS, dimension), dtype=np.uint8)
        data = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, quantised, strict=True))
        return data, scales[:, :1].astype(np.float64) * quantised + scales[:, 1:]
    values = source.standard_normal((ROWS, dimension)).astype(ml_dtypes.bfloat16 if type_ == "bf16" else np.float32)
    return values.tobytes(), values.astype(np.float64)


@pytest.mark.parametrize("kernels", ["scalar", "avx2", "avx512"])
@settings(max_examples=150, deadline=None)
@given(
    type_=st.sampled_from(["fp32", "bf16", "int8"]),
    dimension=st.sampled_from([1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 64, 100]),
    ids=st.lists(st.integers(0, ROWS - 1), max_size=30),
    weighted=st.booleans(),
    scale=st.sampled_from([0.0, 1.0, 0.25, 3.0]),
    seed=st.integers(0, 99),
)
def test_sums_are_the_references(
    kernels: str, type_: str, dimension: int, ids: list[int], weighted: bool, scale: float, seed: int
) -> None:
    source = np.random.default_rng(seed)
    data, values = table(type_, dimension, source)
    weights = source.standard_normal(len(ids)).astype(np.float32).tolist() if weighted else []
    try:
        found = sum_rows(kernels, type_, data, dimension, ids, weights, scale)
    except ValueError:
        pytest.skip(f"this processor has no {kernels}")
    expected = scale * sum((w * values[i] for w, i in zip(weights or [1.0] * len(ids), ids, strict=True)), np.zeros(1))
    size = scale * sum(
        (np.abs(w * values[i]) for w, i in zip(weights or [1.0] * len(ids), ids, strict=True)), np.zeros(1)
    )
    assert np.all(np.abs(found - expected) <= 1e-5 * size + 1e-30)
