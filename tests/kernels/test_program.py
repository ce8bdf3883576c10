"""Programs of features: each instruction against its pseudocode in `kernels/native/program.h`, in plain Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.kernels._native import fingerprint64, run_program

TEXTS = st.lists(st.text(alphabet="ab; ,\t", max_size=12).map(str.encode), max_size=8)
TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)


def run(
    instructions: list[dict[str, Any]], width: int, feed: tuple[Any, ...], *, kind: str = "floats", **more: Any
) -> np.ndarray:
    program = {
        "instructions": instructions,
        "feeds": [0],
        "outputs": [{"kind": kind, "width": width}],
        "registers": 10,
        "tables": [],
        "maps": [],
        **more,
    }
    (output,) = run_program(program, [feed])
    return output


def strings(values: list[bytes]) -> tuple[Any, ...]:
    return [len(values)], values, [], []


def ints(values: list[int], width: int = 1) -> tuple[Any, ...]:
    return [len(values) // width, width], [], values, []


def floats(values: list[float]) -> tuple[Any, ...]:
    return [len(values)], [], [], values


LOAD = {
    "strings": {"opcode": "load_strings", "out": 0},
    "ints": {"opcode": "load_ints", "out": 0},
    "floats": {"opcode": "load_floats", "out": 0},
}


def split(text: bytes, separator: bytes, skip: bool) -> list[bytes]:
    if skip:
        for character in separator:
            text = text.replace(bytes([character]), b"\0")
        return [piece for piece in text.split(b"\0") if piece]
    return text.split(separator or None)


@pytest.mark.parametrize(("separator", "skip"), [(b";", False), (b"", False), (b"; ", False), (b"; ", True)])
@settings(max_examples=100, deadline=None)
@given(texts=TEXTS)
def test_split_hash_and_count(separator: bytes, skip: bool, texts: list[bytes]) -> None:
    """Pieces, as their hashes' buckets, counted by row."""
    instructions = [
        LOAD["strings"],
        {"opcode": "split", "inputs": [0], "out": 1, "rows_out": 2, "text": separator, "flag": skip, "kind": "strings"},
        {"opcode": "hash", "inputs": [1], "out": 3, "number": 7},
        {"opcode": "one_hot", "inputs": [3, 2], "number": 7, "output": 0},
    ]
    expected = np.zeros((len(texts), 7))
    for row, text in enumerate(texts):
        for piece in split(text, separator, skip):
            expected[row, fingerprint64(piece) % 7] += 1
    assert np.array_equal(run(instructions, 7, strings(texts)), expected)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(-3, 12), max_size=24).map(lambda found: found[: len(found) // 3 * 3]),
    combiner=st.sampled_from(["sum", "mean", "sqrtn"]),
    filled=st.booleans(),
)
def test_filter_fill_and_pool(tmp_path_factory: Any, values: list[int], combiner: str, filled: bool) -> None:
    """Negative ids dropped, empty rows filled with id 2 or left at zero, the rest looked up."""
    file = tmp_path_factory.mktemp("table") / "t"
    TABLE.tofile(file)
    table = {"file": str(file), "type": "fp32", "rows": 10, "dimension": 4}
    filling = [
        {"opcode": "fill", "inputs": [4, 3], "out": 5, "number": 2},
        {"opcode": "fill_rows", "inputs": [3], "out": 6},
    ]
    pool = {"opcode": "pool", "table": 0, "combiner": combiner, "empty": "zeros", "output": 0}
    instructions = [
        LOAD["ints"],
        {"opcode": "greater_equal", "inputs": [0], "out": 1, "number": 0},
        {"opcode": "even_rows", "number": 3, "out": 2},
        {"opcode": "keep_rows", "inputs": [2, 1], "out": 3},
        {"opcode": "keep", "inputs": [0, 1], "out": 4},
        *(filling if filled else []),
        {**pool, "inputs": [5, 6] if filled else [4, 3]},
    ]
    rows = [[value for value in values[at : at + 3] if value >= 0] for at in range(0, len(values), 3)]
    rows = [row or ([2] if filled else []) for row in rows]
    if any(value >= 10 for row in rows for value in row):
        with pytest.raises(ValueError, match=r"is not in \[0, 10\)"):
            run(instructions, 4, ints(values, 3), tables=[table])
        return
    expected = np.zeros((len(rows), 4))
    for number, row in enumerate(rows):
        divisor = {"sum": 1, "mean": len(row), "sqrtn": len(row) ** 0.5}[combiner]
        expected[number] = sum((TABLE[value] for value in row), np.zeros(4)) / (divisor or 1)
    assert np.allclose(run(instructions, 4, ints(values, 3), tables=[table]), expected, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(texts=TEXTS, width=st.sampled_from([1, 2, 4, -1]))
def test_pad(texts: list[bytes], width: int) -> None:
    """-1: as wide as the longest row."""
    number, width = width, max((text.count(b";") + 1 for text in texts), default=0) if width < 0 else width
    keys = sorted({piece for text in texts for piece in text.split(b";")} | {b"none"})
    instructions = [
        LOAD["strings"],
        {"opcode": "split", "inputs": [0], "out": 1, "rows_out": 2, "text": b";", "kind": "strings"},
        {"opcode": "pad", "inputs": [1, 2], "out": 3, "number": number, "text": b"none", "kind": "strings"},
        {"opcode": "find_string", "inputs": [3], "out": 4, "table": 0, "number": -1},
        {"opcode": "copy_ints", "inputs": [4], "output": 0},
    ]
    maps = [{"strings": keys, "ids": list(range(len(keys)))}]
    expected = [[*text.split(b";"), *[b"none"] * width][:width] for text in texts]
    found = run(instructions, width, strings(texts), kind="ints", maps=maps)
    assert found.tolist() == [[keys.index(piece) for piece in row] for row in expected]


INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(INT64, max_size=8), other=INT64)
def test_arithmetic_on_ids(values: list[int], other: int) -> None:
    def wrapped(number: int) -> int:
        return (number + 2**63) % 2**64 - 2**63

    for opcode, expected in {
        "add": [wrapped(value + other) for value in values],
        "subtract": [wrapped(value - other) for value in values],
        "multiply": [wrapped(value * other) for value in values],
        "floor_mod": [value % max(1, abs(other)) for value in values],
        "maximum": [max(value, other) for value in values],
        "less": [int(value < other) for value in values],
        "equal": [int(value == other) for value in values],
    }.items():
        number = min(max(1, abs(other)), 2**63 - 1) if opcode == "floor_mod" else other
        expected = [value % number for value in values] if opcode == "floor_mod" else expected
        instructions = [
            LOAD["ints"],
            {"opcode": opcode, "inputs": [0], "out": 1, "number": number},
            {"opcode": "copy_ints", "inputs": [1], "output": 0},
        ]
        assert run(instructions, 1, ints(values), kind="ints").ravel().tolist() == expected, opcode


@settings(max_examples=50, deadline=None)
@given(values=st.lists(INT64, max_size=8))
def test_ints_as_text(values: list[int]) -> None:
    instructions = [
        LOAD["ints"],
        {"opcode": "text", "inputs": [0], "out": 1},
        {"opcode": "hash", "inputs": [1], "out": 2, "number": 1000},
        {"opcode": "copy_ints", "inputs": [2], "output": 0},
    ]
    found = run(instructions, 1, ints(values), kind="ints").ravel().tolist()
    assert found == [fingerprint64(str(value).encode()) % 1000 for value in values]


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(-5, 5, width=32), max_size=8))
def test_buckets(values: list[float]) -> None:
    bounds = [-1.0, 0.0, 0.5]
    instructions = [
        LOAD["floats"],
        {"opcode": "bucketize", "inputs": [0], "out": 1, "bounds": bounds, "kind": "floats"},
        {"opcode": "copy_as_floats", "inputs": [1], "output": 0},
    ]
    assert run(instructions, 1, floats(values)).ravel().tolist() == np.digitize(values, bounds).tolist()


def test_the_first_axes_agree() -> None:
    program = {
        "instructions": [{"opcode": "load_ints", "number": 1, "out": 0}],
        "feeds": [0, 1],
        "outputs": [],
        "registers": 1,
        "tables": [],
        "maps": [],
    }
    with pytest.raises(ValueError, match="differ in their number of rows"):
        run_program(program, [ints([1]), ints([1, 2])])


@pytest.mark.parametrize(
    ("instruction", "problem"),
    [
        ({"opcode": "fly"}, "no fly"),
        ({"opcode": "hash", "inputs": [0], "out": 1}, "does not have"),
        ({"opcode": "hash", "inputs": [0], "out": 10, "number": 3}, "does not have"),
        ({"opcode": "pool", "inputs": [0, 0], "table": 0, "output": 0}, "does not have"),
        ({"opcode": "copy", "inputs": [0], "output": 1}, "does not have"),
        ({"opcode": "pad", "inputs": [0, 1], "out": 2, "number": 2, "kind": "floats"}, "does not have"),
        ({"opcode": "pad", "inputs": [0, 1], "out": 2, "number": -2}, "does not have"),
        ({"opcode": "count", "inputs": [0], "number": -1, "output": 0}, "does not have"),
    ],
)
def test_a_damaged_program_is_refused(instruction: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        run([instruction], 1, ints([]))


def test_a_table_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\0" * 12)
    table = {"file": str(tmp_path / "t"), "type": "fp32", "rows": 2, "dimension": 2}
    with pytest.raises(ValueError, match="has not the size of its table"):
        run([], 1, ints([]), tables=[table])
    with pytest.raises(RuntimeError, match="No such file"):
        run([], 1, ints([]), tables=[{**table, "file": str(tmp_path / "gone")}])


def example(**features: list[Any]) -> bytes:
    """A serialized tf.Example, spelled out: field numbers are those of example.proto."""

    def field(number: int, data: bytes) -> bytes:
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    entries = b""
    for key, values in features.items():
        if values and isinstance(values[0], bytes):
            found = field(1, b"".join(field(1, value) for value in values))
        elif values and isinstance(values[0], float):
            found = field(2, field(1, np.array(values, "<f4").tobytes()))
        else:
            found = field(3, field(1, bytes(values)))
        entries += field(1, field(1, key.encode()) + field(2, found))
    return field(1, entries)


def parse(examples: list[bytes], kind: str, copy: str, **more: Any) -> list[Any]:
    instructions = [
        LOAD["strings"],
        {"opcode": "parse", "inputs": [0], "out": 1, "kind": kind, "text": b"x", "number": 1, **more},
        {"opcode": copy, "inputs": [1], "output": 0},
    ]
    output_kind = "ints" if copy == "copy_ints" else "floats"
    return run(instructions, 1, strings(examples), kind=output_kind).ravel().tolist()


def test_examples() -> None:
    numbers = [example(x=[3]), example(y=[4]), example(y=[b"a"], x=[5])]
    assert parse(numbers, "ints", "copy_ints", flag=True, other=9) == [3, 9, 5]
    floats_ = [example(x=[0.5]), b"", example(x=[1.5], y=[2.0])]
    assert parse(floats_, "floats", "copy", flag=True, bounds=[7.0]) == [0.5, 7.0, 1.5]
    # Two messages one after the other are one, whose last entry counts; a field that nobody knows is passed over.
    assert parse([example(x=[1]) + b"\x48\x05" + example(x=[2])], "ints", "copy_ints") == [2]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (example(y=[1]), "feature x is required but could not be found"),
        (example(x=[b"a"]), "feature x is of another type"),
        (example(x=[1, 2]), "feature x has not as many values"),
        (example(x=[1])[:-1], "feature x cannot be read"),
        (b"\x0a\x02\x12\x00", "feature x cannot be read"),
    ],
)
def test_bad_examples(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"example 1: {problem}"):
        parse([example(x=[1]), data], "ints", "copy_ints")
