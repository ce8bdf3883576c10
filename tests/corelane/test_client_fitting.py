"""Values to arrays: types, ranks, and what is refused because something would be lost."""

from decimal import Decimal
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from corelane.client.fitting import Input, fitted, fitting_shape
from corelane.client.retries import PAUSE_FIRST_S, PAUSE_MAX_S, pause_s
from corelane.processor.errors import InvalidRequest, Overloaded, RequestError, Unavailable
from corelane.processor.wire.tensor_types import NUMPY_TYPES


@pytest.mark.parametrize(
    ("shape", "to", "expected"),
    [
        ((), (), ()),
        ((), (-1,), (1,)),
        ((), (-1, 1), (1, 1)),
        ((3,), (-1,), (3,)),
        ((3,), (-1, 1), (3, 1)),
        ((4,), (-1, 4), (1, 4)),
        ((1,), (-1, 1), (1, 1)),
        ((4,), (-1, -1), (1, 4)),
        ((4,), (-1, 4, 1), (1, 4, 1)),
        ((5,), (-1, 4, 1), None),
        ((3, 1), (-1,), (3,)),
        ((1,), (), ()),
        ((1, 3), (-1,), None),
        ((3,), (-1, 4), None),
        ((0,), (-1, 1), (0, 1)),
        ((2, 3), (-1, 2, 3), (1, 2, 3)),
    ],
)
def test_ranks(shape: tuple[int, ...], to: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    assert fitting_shape(shape, to) == expected


def fit(value: Any, dtype: str) -> np.ndarray:
    return fitted(value, Input(name="x", dtype=dtype, shape=None))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 2], "DT_FLOAT", [1, 2]),
        ([True, False], "DT_FLOAT", [1, 0]),
        ([1.0, -2.0], "DT_INT32", [1, -2]),
        (np.float32([7]), "DT_UINT8", [7]),
        ([0.1], "DT_FLOAT", [np.float32(0.1)]),
        ([0, 1], "DT_BOOL", [False, True]),
        ([2**63 + 1], "DT_UINT64", [2**63 + 1]),
        ([2**63, 1], "DT_UINT64", [2**63, 1]),
        ([2**60], "DT_FLOAT", [2**60]),
        ([2**100], "DT_DOUBLE", [2.0**100]),
        ([float("nan"), float("inf")], "DT_HALF", [float("nan"), float("inf")]),
        ([1, 2.5], "DT_BFLOAT16", [1, 2.5]),
        (np.array([1.5], ml_dtypes.bfloat16), "DT_FLOAT", [1.5]),
        ([1, 2j], "DT_COMPLEX64", [1, 2j]),
        ([Decimal("1.5")], "DT_FLOAT", [1.5]),
        (np.array([1, 2], object), "DT_INT64", [1, 2]),
        ([], "DT_INT64", []),
        (["a\0", b"b\xff"], "DT_STRING", [b"a\0", b"b\xff"]),
        (np.array(["a", "bc"]), "DT_STRING", [b"a", b"bc"]),
        ([-128, 127], "DT_INT8", [-128, 127]),
        ([-(2**63), 2**63 - 1], "DT_INT64", [-(2**63), 2**63 - 1]),
    ],
)
def test_what_fits(value: Any, dtype: str, expected: list[Any]) -> None:
    array = fit(value, dtype)
    assert array.dtype == NUMPY_TYPES[dtype]
    np.testing.assert_array_equal(array, np.array(expected, array.dtype))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1, 1.5], "DT_INT64", r"1.5 \(at \[1\]\) is no int64"),
        ([[1, 2], [3, 300]], "DT_INT8", r"300 \(at \[1, 1\]\) is no int8"),
        ([-1], "DT_UINT32", "-1 .* is no uint32"),
        (np.int64([-1]), "DT_UINT64", "-1 .* is no uint64"),
        (np.uint64([2**63]), "DT_INT64", f"{2**63} .* is no int64"),
        (np.float64([2.0**63]), "DT_INT64", "is no int64"),
        ([2**63], "DT_INT64", "is no int64"),
        ([2**64, 1], "DT_UINT64", "is no uint64"),
        ([float("nan")], "DT_INT64", "nan is no int64"),
        ([2**24 + 1], "DT_FLOAT", f"{2**24 + 1} .* is no float"),
        ([2**53 + 1, 0.5], "DT_DOUBLE", f"{2**53 + 1} is no double"),
        ([2**63 - 1], "DT_FLOAT", "is no float"),
        ([1e300], "DT_FLOAT", "is no float"),
        ([70000], "DT_HALF", "is no half"),
        ([257], "DT_BFLOAT16", "is no bfloat16"),
        ([2], "DT_BOOL", "is no bool"),
        ([1j], "DT_FLOAT", "is no float"),
        (["1"], "DT_FLOAT", "'1' is text"),
        ([1], "DT_STRING", "1 is int, the model takes text"),
        ([1, None], "DT_FLOAT", r"value 1 is missing \(None\)"),
        (["a", None], "DT_STRING", r"value 1 is missing \(None\)"),
        ([[1, 2], [3]], "DT_FLOAT", "its rows have different lengths"),
        ([["a", "b"], ["c"]], "DT_STRING", "its rows have different lengths"),
        (["\ud800"], "DT_STRING", "no UTF-8"),
        ([{}], "DT_FLOAT", "{} is dict"),
        (np.zeros(1, "datetime64[s]"), "DT_INT64", "arrays of datetime64"),
        ([1], "DT_VARIANT", "of type DT_VARIANT, which cannot be sent"),
    ],
)
def test_what_is_refused(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=f'input "x".*{message}'):
        fit(value, dtype)


def test_arrays_with_a_shape_of_their_own_go_as_they_are() -> None:
    to = Input(name="x", dtype="DT_FLOAT", shape=(-1, 4))
    assert fitted(np.zeros((2, 3)), to).shape == (2, 3)
    with pytest.raises(InvalidRequest, match=r"takes shape \[-1, 4\] \(-1: any size\); the value has \[2, 3\]"):
        fitted([[0] * 3] * 2, to)


@pytest.mark.parametrize(
    ("failure", "failures", "retries", "remaining_s", "expected"),
    [
        (Unavailable("x"), 1, 5, None, PAUSE_FIRST_S),
        (Unavailable("x"), 3, 5, None, PAUSE_FIRST_S * 4),
        (Unavailable("x"), 5, 5, 10.0, PAUSE_FIRST_S * 16),
        (Unavailable("x"), 6, 5, None, None),
        (Unavailable("x"), 1, 0, None, None),
        (Unavailable("x"), 1000, 1000, None, PAUSE_MAX_S),
        (Unavailable("x"), 1, 5, PAUSE_FIRST_S / 4, None),
        (Overloaded("x"), 1, 5, None, None),
        (InvalidRequest("x"), 1, 5, None, None),
    ],
)
def test_pauses(
    failure: RequestError, failures: int, retries: int, remaining_s: float | None, expected: float | None
) -> None:
    pauses = [
        pause_s(failure, failures=failures, retries=retries, remaining_s=remaining_s, draw=draw)
        for draw in (0.0, 0.999999)
    ]
    assert pauses == ([None, None] if expected is None else pytest.approx([expected / 2, expected], rel=1e-5))
