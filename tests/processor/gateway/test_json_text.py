"""JSON bodies: one parser and one writer, whatever they contain, against RapidJSON, which TensorFlow Serving uses."""

import json
import random
from typing import Any

import numpy as np
import pytest
import rapidjson

from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.protocols import json_text

NAN = float("nan")
INFINITY = float("inf")


def same(left: Any, right: Any) -> bool:
    """NaN equals itself here, and 1 is not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (left != left and right != right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        return json_text.parse(text)
    except InvalidRequest:
        return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x": [NaN, -NaN, Infinity, -Infinity, Inf, -Inf]}', [NAN, NAN, INFINITY, -INFINITY, INFINITY, -INFINITY]),
        ('{"x": NaN}', NAN),
        ('{"x": {"y": [NaN, "NaN", "\\"NaN", "\\\\"]}}', {"y": [NAN, "NaN", '"NaN', "\\"]}),
        ('{"NaN": 1, "x": [NaN]}', [NAN]),
        ('{"x": "Infinity"}', "Infinity"),
        ('\ufeff{"x": 1}', 1),
        ('{"x": 18446744073709551615}', 2**64 - 1),
        ('{"x": -9223372036854775808}', -(2**63)),
        ('{"x": 18446744073709551616}', 2.0**64),
        ('{"x": -9223372036854775809}', -(2.0**63)),
        ('{"x": 1e-999}', 0.0),
        ('{"x": 1, "x": 2}', 2),
    ],
)
def test_documents(text: str, expected: Any) -> None:
    assert same(json_text.parse(text.encode())["x"], expected)


@pytest.mark.parametrize("with_word", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        b"1e999",
        b"-1e999",
        b"1" * 400,
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b"01",
        b"1.",
        b"+1",
        b"0x1",
        b"nan",
        b"inf",
        b"Infinit",
        b"1NaN",
        b"NaN1",
        b"--Infinity",
        b"NaNNaN",
        b'"a"NaN',
        b"{NaN: 1}",
        b"'a'",
        b"[1,]",
        b"[1 2]",
        b"[" * 1100 + b"]" * 1100,
        b"undefined",
        b"1} 2",
        b"1}}",
        b"1} NaN",
        b'"',
    ],
)
def test_the_same_rules_with_and_without_a_word(value: bytes, with_word: bool) -> None:
    """Each of these is an error, whether or not NaN stands elsewhere in the body."""
    text = b'{"y": %s, "x": %s}' % (b"NaN" if with_word else b"0", value)
    with pytest.raises(InvalidRequest, match="JSON Parse error"):
        json_text.parse(text)


@pytest.mark.parametrize("value", [b"1", b"18446744073709551616", b'"\\u00fc"', b"[" * 900 + b"]" * 900])
def test_the_same_values_with_and_without_a_word(value: bytes) -> None:
    plain = json_text.parse(b'{"y": 0, "x": %s}' % value)
    assert json_text.shown(json_text.parse(b'{"y": NaN, "x": %s}' % value)["x"]) == json_text.shown(plain["x"])


def test_nesting_has_one_bound() -> None:
    for leaf in (b"1", b"NaN"):
        inside, outside = (b'{"x": %s%s%s}' % (b"[" * depth, leaf, b"]" * depth) for depth in (1023, 1024))
        assert parsed(inside) is not None
        assert parsed(outside) is None


@pytest.mark.parametrize("seed", range(20))
def test_bodies_at_random_against_rapidjson(seed: int) -> None:
    source = random.Random(seed)
    words = [b"NaN", b"Infinity", b"-Infinity", b"1", b"2.5", b"-1e3", b'"NaN"', b'"\\"Inf\\\\"', b"null", b"true"]

    def value(depth: int) -> bytes:
        kind = source.randrange(8) if depth else 0
        if kind < 4:
            return source.choice(words)
        if kind < 6:
            return b"[%s]" % b",".join(value(depth - 1) for _ in range(source.randrange(4)))
        return b"{%s}" % b",".join(b'"%d":%s' % (key, value(depth - 1)) for key in range(source.randrange(4)))

    accepted = 0
    for _ in range(500):
        text = b'{"x":%s}' % value(4)
        if source.random() < 0.4:
            place = source.randrange(len(text))
            text = text[:place] + source.choice([*words, b'"', b"\\", b"-", b",", b"[", b"}", b":"]) + text[place:]
        try:
            expected = rapidjson.loads(text, number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)
        except (rapidjson.JSONDecodeError, UnicodeDecodeError):
            expected = None
        found = parsed(text)
        accepted += found is not None
        assert same(found, expected if isinstance(expected, dict) else None), text
    assert 100 < accepted < 500


def test_a_number_that_a_client_happens_to_send_keeps_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    monkeypatch.setattr(json_text, "_drawn_number", lambda: next(drawn))
    assert same(json_text.parse(b'{"x": [NaN, 0.1]}')["x"], [NAN, 0.1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([1, np.nan, np.inf, -np.inf, 0.1], np.float32), b"[1.0,NaN,Infinity,-Infinity,0.1]"),
        (np.array([[np.nan], [1e16]], np.float64), b"[[NaN],[1e+16]]"),
        (np.array([0.1, 1e16], np.float32), b"[0.1,1e+16]"),
        (np.array([2**64 - 1, 0, 2**53 + 1], np.uint64), b"[18446744073709551615,0,9007199254740993]"),
        (np.array([-(2**63), 2**53 + 1], np.int64), b"[-9223372036854775808,9007199254740993]"),
        ({"a": NAN, "b": ["ü", True, None]}, '{"a":NaN,"b":["ü",true,null]}'.encode()),
        ([np.float32(0.1), np.float64(-np.inf), np.uint64(2**64 - 1)], b"[0.1,-Infinity,18446744073709551615]"),
    ],
)
def test_writing(value: Any, text: bytes) -> None:
    assert json_text.write(value) == text
    # A float among the values changes nothing for those beside it.
    beside = json_text.write({"n": np.array([np.nan]), "v": value})
    assert beside == b'{"n":[NaN],"v":' + text + b"}"


def test_floats_read_back() -> None:
    source = np.random.default_rng(1)
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64)):
        values = source.integers(0, np.iinfo(bits).max, 2000, bits).view(dtype)
        found = np.array(json.loads(json_text.write(values)), np.float64).astype(dtype)
        np.testing.assert_array_equal(found, values)


def test_what_an_error_shows_is_short() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    for value in (deep, {"a": deep}, "x" * 1000, list(range(1000)), {"k" * 1000: 1}):
        text = json_text.shown(value)
        assert len(text) <= 100
    assert json_text.shown({"a": [1, NAN, "ü"]}) == '{"a": [1, NaN, "ü"]}'
