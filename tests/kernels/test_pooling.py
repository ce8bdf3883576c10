"""Row kernels: every variant of each against its contract, in float64."""

import bisect
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.kernels._native import bucketize, gather_rows, pool_rows

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


def called(kernel: Any, kernels: str, *arguments: Any) -> Any:
    try:
        return kernel(kernels, *arguments)
    except ValueError:
        pytest.skip(f"this processor has no {kernels}")


@pytest.mark.parametrize("kernels", ["scalar", "avx2", "avx512"])
@settings(max_examples=150, deadline=None)
@given(
    type_=st.sampled_from(["fp32", "bf16", "int8"]),
    dimension=st.sampled_from([1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 64, 100]),
    rows=st.lists(st.lists(st.integers(0, ROWS - 1), max_size=12), max_size=6),
    weighted=st.booleans(),
    combiner=st.sampled_from(["sum", "mean", "sqrtn"]),
    seed=st.integers(0, 99),
)
def test_sums_are_the_references(
    kernels: str, type_: str, dimension: int, rows: list[list[int]], weighted: bool, combiner: str, seed: int
) -> None:
    source = np.random.default_rng(seed)
    data, values = table(type_, dimension, source)
    ids = [one for row in rows for one in row]
    weights = source.uniform(-2, 2, len(ids)).astype(np.float32).tolist() if weighted else []
    ends = np.cumsum([0, *map(len, rows)]).tolist()
    found = called(pool_rows, kernels, type_, data, dimension, ids, ends, weights, combiner)
    assert found.shape == (len(rows), dimension)
    for row, begin, end in zip(found, ends, ends[1:], strict=False):
        factors = np.array(weights[begin:end] if weighted else [1.0] * (end - begin))
        divisor = {"sum": 1.0, "mean": factors.sum(), "sqrtn": np.sqrt((factors**2).sum())}[combiner]
        weighed = factors[:, None] * values[ids[begin:end]]
        expected, size = (
            one.sum(0) / divisor if divisor else np.zeros(dimension) for one in (weighed, np.abs(weighed))
        )
        # Weights that add up to next to nothing leave few digits.
        cancelled = max(1.0, np.abs(factors).sum() / abs(divisor)) if combiner == "mean" and divisor else 1.0
        assert np.all(np.abs(row - expected) <= 1e-5 * np.abs(size) * cancelled + 1e-30)


@pytest.mark.parametrize("kernels", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("type_", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("dimension", [1, 4, 7, 8, 16, 32, 64, 100])
def test_rows_are_the_references(kernels: str, type_: str, dimension: int) -> None:
    data, values = table(type_, dimension, np.random.default_rng(1))
    ids = np.random.default_rng(2).integers(0, ROWS, 50).tolist()
    assert np.allclose(called(gather_rows, kernels, type_, data, dimension, ids), values[ids], rtol=1e-6)


@pytest.mark.parametrize("kernels", ["scalar", "avx2", "avx512"])
@settings(max_examples=100, deadline=None)
@given(
    bounds=st.lists(st.floats(-5, 5, width=32), max_size=40),
    repeats=st.sampled_from([1, 1, 20]),
    values=st.lists(st.floats(width=32), max_size=20),
)
def test_buckets_are_the_references(kernels: str, bounds: list[float], repeats: int, values: list[float]) -> None:
    values = values + bounds[:10]
    bounds = sorted(bounds * repeats)
    expected = [len(bounds) if np.isnan(value) else bisect.bisect_right(bounds, value) for value in values]
    assert called(bucketize, kernels, values, bounds) == expected
