"""JSON as TensorFlow Serving reads and writes it: with NaN and Infinity, which the standard does not have."""

import json
from typing import Any

import numpy as np
import orjson

from processor.errors import InvalidRequest

_NOT_FINITE = (b"NaN", b"Infinity")


def parse(text: bytes) -> dict[str, Any]:
    """An object from its text. InvalidRequest for anything else."""
    if not text:
        raise InvalidRequest("JSON Parse error: The document is empty")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not any(word in text for word in _NOT_FINITE):
            raise InvalidRequest(f"JSON Parse error: {error}") from None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as second:
            raise InvalidRequest(f"JSON Parse error: {second}") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"JSON Value: {shown(found)} Is not object")
    return found


def write(value: Any) -> bytes:
    """Text of plain values and arrays of numbers, floats as short as they read back."""
    if _is_finite(value):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def shown(value: Any) -> str:
    """A value for an error's message, not too long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:97] + "..."


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    if isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f":
        return bool(np.isfinite(value).all())
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f":
            return value.tolist()
        return [_plain(item) for item in value]
    if isinstance(value, np.floating):
        # As many digits as the type has.
        return float(str(value))
    return value.item()
