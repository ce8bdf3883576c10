"""Instructions on strings, columns and weights, against their pseudocode in `kernels/native/program.h`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.kernels._native import fingerprint64, run_program
from tests.kernels.test_program import LOAD, TABLE, example, floats, ints, run, strings

BUCKETS = 2**62


def hashes(texts: list[bytes], *rewrite: dict[str, Any], **hashing: Any) -> list[int]:
    """Hashes of texts, after instructions that rewrite them from register 0 to 1, 1 to 2 and so on."""
    last = len(rewrite)
    instructions = [
        LOAD["strings"],
        *({"inputs": [number], "out": number + 1, "kind": "strings", **one} for number, one in enumerate(rewrite)),
        {"opcode": "hash", "inputs": [last], "out": last + 1, "number": BUCKETS, **hashing},
        {"opcode": "copy_ints", "inputs": [last + 1], "output": 0},
    ]
    return [int(one) for one in run(instructions, 1, strings(texts), kind="ints").ravel()]


def test_siphash() -> None:
    """The example that the paper computes in its appendix."""
    key = [int.from_bytes(bytes(range(begin, begin + 8)), "little") for begin in (0, 8)]
    found = hashes([bytes(range(15)), b""], opcode="strong_hash", offset=key[0], other=key[1])
    assert found[0] == 0xA129CA6149BE45E5 % BUCKETS
    other = hashes([bytes(range(15))], opcode="strong_hash", offset=key[0], other=key[1] + 1)
    assert other[0] != found[0]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.binary(max_size=20), max_size=6))
def test_lower_and_erase(texts: list[bytes]) -> None:
    rewrite = [{"opcode": "lower"}, {"opcode": "erase", "text": b"!a.\xff"}]
    expected = [re.sub(rb"[!a.\xff]", b"", text.lower()) for text in texts]
    assert hashes(texts, *rewrite) == [fingerprint64(text) % BUCKETS for text in expected]


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(0, 5), width=st.integers(1, 4), data=st.data())
def test_take(rows: int, width: int, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, width - 1))
    values = list(range(rows * width))
    instructions = [
        LOAD["ints"],
        {"opcode": "take", "inputs": [0], "out": 1, "number": width, "other": column},
        {"opcode": "copy_ints", "inputs": [1], "output": 0},
    ]
    found = run(instructions, 1, ints(values, width), kind="ints")
    assert found.ravel().tolist() == values[column::width]


@pytest.mark.parametrize(("width", "column"), [(2, 2), (2, -1), (0, 0)])
def test_no_such_column(width: int, column: int) -> None:
    with pytest.raises(ValueError, match="does not have"):
        run([{"opcode": "take", "inputs": [0], "out": 1, "number": width, "other": column}], 1, ints([1, 2], 2))


@settings(max_examples=50, deadline=None)
@given(lists=st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5))
def test_examples_of_any_length(lists: list[list[int]]) -> None:
    instructions = [
        LOAD["strings"],
        {"opcode": "parse_rows", "inputs": [0], "out": 1, "rows_out": 2, "text": b"x", "kind": "ints"},
        {"opcode": "one_hot", "inputs": [1, 2], "number": 10, "output": 0},
    ]
    found = run(instructions, 10, strings([example(x=one) if one else b"" for one in lists]))
    assert found.tolist() == [[one.count(number) for number in range(10)] for one in lists]
    with pytest.raises(ValueError, match="example 0: feature x is of another type"):
        run(instructions, 10, strings([example(x=[b"a"])]))


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(-100, 100), max_size=8),
    number=st.integers(1, 9),
)
def test_floor_divide(values: list[int], number: int) -> None:
    instructions = [
        LOAD["ints"],
        {"opcode": "floor_divide", "inputs": [0], "out": 1, "number": number},
        {"opcode": "copy_ints", "inputs": [1], "output": 0},
    ]
    found = run(instructions, 1, ints(values), kind="ints")
    assert found.ravel().tolist() == [value // number for value in values]


def table(folder: Path) -> dict[str, Any]:
    TABLE.tofile(folder / "t")
    return {"file": str(folder / "t"), "type": "fp32", "rows": 10, "dimension": 4}


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_weights(tmp_path: Path, combiner: str) -> None:
    """The id of every weight is 3; two weights a row."""
    weights = np.array([[0.5, 2.0], [0.0, 0.0], [-1.0, 1.0]], np.float32)
    instructions = [
        LOAD["floats"],
        {"opcode": "constant", "inputs": [0], "out": 1, "number": 3, "kind": "floats"},
        {"opcode": "even_rows", "number": 2, "out": 2},
        {"opcode": "pool", "inputs": [1, 2, 0], "table": 0, "combiner": combiner, "output": 0},
    ]
    divisors = {"sum": np.ones(3), "mean": weights.sum(1), "sqrtn": np.sqrt((weights**2).sum(1))}[combiner]
    expected = [
        TABLE[3] * row.sum() / divisor if divisor else TABLE[3] * 0
        for row, divisor in zip(weights, divisors, strict=True)
    ]
    found = run(instructions, 4, ([3, 2], [], [], weights.ravel().tolist()), tables=[table(tmp_path)])
    assert np.allclose(found, expected)


def test_lookups_side_by_side(tmp_path: Path) -> None:
    ids = [1, 2, 3, 4, 0, 9]
    instructions = [LOAD["ints"]] + [
        {"opcode": "gather", "inputs": [0], "table": 0, "number": 8, "output": 0, "offset": offset} for offset in (0, 4)
    ]
    found = run(instructions, 16, ints(ids, 2), tables=[table(tmp_path)])
    assert np.array_equal(found, np.repeat(TABLE[ids], 2, axis=0).reshape(3, 16))


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text("a;", max_size=5).map(str.encode), max_size=5))
def test_count(texts: list[bytes]) -> None:
    instructions = [
        LOAD["strings"],
        {"opcode": "split", "inputs": [0], "out": 1, "rows_out": 2, "text": b";", "kind": "strings"},
        {"opcode": "count", "inputs": [2], "number": 2, "output": 0},
    ]
    assert run(instructions, 2, strings(texts)).tolist() == [[text.count(b";") + 1.0] * 2 for text in texts]


def sparse(indices: list[list[int]], shape: list[int], count: int | None = None) -> np.ndarray:
    """How many elements each row of a sparse tensor has; `count` values, or as many as indices."""
    instructions = [
        {"opcode": "sparse_rows", "out": 0, "number": 0, "offset": 1, "other": 2},
        {"opcode": "count", "inputs": [0], "number": 1, "output": 0},
    ]
    program = {"instructions": instructions, "feeds": [], "registers": 1, "tables": [], "maps": []}
    flat = [one for pair in indices for one in pair]
    feeds: list[Any] = [([len(indices), 2], [], flat, []), ([len(indices) if count is None else count], [], [], [])]
    feeds.append(([2], [], shape, []))
    (found,) = run_program({**program, "outputs": [{"kind": "floats", "width": 1}]}, feeds)
    return found.ravel()


def test_sparse_rows() -> None:
    assert sparse([[0, 0], [0, 2], [3, 1]], [5, 3]).tolist() == [2, 0, 0, 1, 0]
    assert sparse([], [0, 3]).tolist() == []
    assert sparse([], [2, 0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("indices", "shape", "count", "problem"),
    [
        ([[1, 0], [0, 0]], [2, 2], None, r"indices\[1\] of a sparse input is outside of its shape, or not after"),
        ([[0, 0], [0, 0]], [2, 2], None, "not after the one before"),
        ([[2, 0]], [2, 2], None, "outside of its shape"),
        ([[-1, 0]], [2, 2], None, "outside of its shape"),
        ([[0, 5]], [2, 2], None, "outside of its shape"),
        ([[0, 0]], [2, 2], 2, "a value for each of them"),
        ([[0, 0]], [-1, 2], None, "not that of up to 1048576 rows"),
        ([[0, 0]], [2**40, 2], None, "not that of up to 1048576 rows"),
    ],
)
def test_bad_sparse_tensors(indices: list[list[int]], shape: list[int], count: int | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        sparse(indices, shape, count)


def test_floats_are_taken(tmp_path: Path) -> None:
    instructions = [
        LOAD["floats"],
        {"opcode": "take", "inputs": [0], "out": 1, "number": 1, "other": 0, "kind": "floats"},
        {"opcode": "copy", "inputs": [1], "output": 0},
    ]
    assert run(instructions, 1, floats([0.5, 1.5])).ravel().tolist() == [0.5, 1.5]
