"""JSON as TensorFlow Serving reads and writes it: with NaN and Infinity, which the standard does not have.

One parser (orjson) reads every body, so that one set of rules holds whatever a body contains: numbers over the range of
a double, lone surrogates, malformed UTF-8, nesting over 1024 levels and anything behind the document are errors;
whole numbers from -2^63 to 2^64-1 are exact, those outside are doubles; of a repeated key the last value counts.
"""

import json
import math
import operator
import re
import secrets
from typing import Any

import numpy as np
import orjson

from corelane.processor.errors import InvalidRequest

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRING = re.compile(rb'("(?:[^"\\]++|\\.)*+")', re.DOTALL)
# What RapidJSON takes for a number beyond the standard, the longer of two that begin alike first.
_SIGNED_WORDS = (b"-NaN", b"-Infinity", b"Infinity", b"NaN", b"-Inf", b"Inf")
_WORDS = (b"NaN", b"Inf")
_PLAIN = {int, float, str, bool, type(None)}
_POSITION = re.compile(r": line \d+ column \d+ \(char \d+\)$")

_NAN, _INFINITY = float("nan"), float("inf")
_NAN_TEXT, _INFINITY_TEXT, _MINUS_INFINITY_TEXT = map(orjson.Fragment, (b"NaN", b"Infinity", b"-Infinity"))
_SHOWN_LENGTH = 100
_SHOWN_DEPTH = 16


def parse(text: bytes) -> dict[str, Any]:
    """An object from its text. InvalidRequest for anything else."""
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text:
        raise InvalidRequest("JSON Parse error: The document is empty")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not any(word in text for word in _WORDS):
            raise InvalidRequest(f"JSON Parse error: {error}") from None
        value = _parse_with_words(text)
    if not isinstance(value, dict):
        raise InvalidRequest(f"JSON Value: {shown(value)} Is not object")
    return value


def write(value: Any) -> bytes:
    """Text of plain values and arrays of numbers, floats as short as they read back."""
    return orjson.dumps(_writable(value), option=orjson.OPT_SERIALIZE_NUMPY)


def shown(value: Any) -> str:
    """The beginning of a value's text for an error's message. The cost does not grow with the value."""
    parts: list[str] = []
    _show(value, parts, _SHOWN_LENGTH + 1, _SHOWN_DEPTH)
    text = "".join(parts)
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."


def _parse_with_words(text: bytes) -> Any:
    """The same parser's value, where NaN or Infinity stand among the numbers.

    Each such word is parsed as a number drawn for it, which no client can guess, and becomes what it means afterwards.
    Spaces around it keep it from joining what stands beside it, and a number is no key, so that a word where no value
    may stand is still an error."""
    while True:
        drawn = [_drawn_number() for _ in range(3)]
        nan, infinity, minus_infinity = (f" {number!r} ".encode() for number in drawn)
        meanings = dict(zip(drawn, (_NAN, _INFINITY, -_INFINITY), strict=True))
        pieces = _STRING.split(text)  # strings are every other one
        replaced = 0
        for index in range(0, len(pieces), 2):
            piece = pieces[index]
            count = sum(map(piece.count, _WORDS))
            if count:
                replaced += count
                for word, number in zip(_SIGNED_WORDS, (nan, minus_infinity, infinity) * 2, strict=True):
                    piece = piece.replace(word, number)
                pieces[index] = piece
        try:
            value = orjson.loads(b"".join(pieces))
        except orjson.JSONDecodeError as error:
            # Its position is one in the changed text.
            reason = _POSITION.sub("", str(error)) if replaced else str(error)
            raise InvalidRequest(f"JSON Parse error: {reason}") from None
        if isinstance(value, float):
            return meanings.get(value, value)
        if _give_meaning(value, meanings) <= replaced:
            return value


def _drawn_number() -> float:
    """One of about 2^61 numbers, none of them whole."""
    return math.ldexp(1 + secrets.randbits(52) / 2**52, -secrets.randbelow(512) - 53)


def _give_meaning(value: Any, meanings: dict[float, float]) -> int:
    """Puts the meanings in the place of the numbers drawn; how many there were. No recursion: JSON nests deeper."""
    count = 0
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, list) and set(map(type, holder)) <= _PLAIN:
            numbers = [meanings.get(item, item) for item in holder]
            count += sum(map(operator.is_not, numbers, holder))
            holder[:] = numbers
            continue
        for place, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(item, dict | list):
                waiting.append(item)
            elif isinstance(item, float) and item in meanings:
                holder[place] = meanings[item]
                count += 1
    return count


def _writable(value: Any) -> Any:
    """The value with fragments of text in place of the numbers that the writer would make null of."""
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f" or np.isfinite(value).all():
            return value
        return [_writable(item) for item in value]
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return _NAN_TEXT if np.isnan(value) else _INFINITY_TEXT if value > 0 else _MINUS_INFINITY_TEXT
    return value


def _show(value: Any, parts: list[str], room: int, depth: int) -> int:
    """Appends the text of a value until no `room` is left; returns the room that is."""
    if room <= 0:
        return 0
    if isinstance(value, dict | list) and depth == 0:
        return _put("...", parts, room)
    if isinstance(value, dict):
        room = _put("{", parts, room)
        for index, (key, item) in enumerate(value.items()):
            if room <= 0:
                return 0
            room = _put(", " if index else "", parts, room)
            room = _show(key, parts, room, depth)
            room = _show(item, parts, _put(": ", parts, room), depth - 1)
        return _put("}", parts, room)
    if isinstance(value, list):
        room = _put("[", parts, room)
        for index, item in enumerate(value):
            if room <= 0:
                return 0
            room = _show(item, parts, _put(", " if index else "", parts, room), depth - 1)
        return _put("]", parts, room)
    return _put(json.dumps(value[:room] if isinstance(value, str) else value, ensure_ascii=False), parts, room)


def _put(text: str, parts: list[str], room: int) -> int:
    parts.append(text)
    return room - len(text)
