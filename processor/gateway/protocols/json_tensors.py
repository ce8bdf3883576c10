"""Tensors as TensorFlow Serving's REST API has them in JSON: rows ("instances") or columns ("inputs").

Lists nest as deep as the tensor's rank. Text is UTF-8; bytes stand as {"b64": text}. The signature alone says what type
the values have: a float tensor takes whole numbers, an integer tensor takes no 1.0. Errors say what TensorFlow Serving
says, where it has a sentence for it.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest, NotSupported
from corelane.processor.gateway.protocols.json_text import shown
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES

_B64 = "b64"
_RANK_MAX = 64
# The Python types that a JSON value of a tensor has, by numpy's kind of the tensor.
_JSON_TYPES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}
_JSON_NAMES = {dict: "Object", list: "Array", type(None): "Null", str: "String", int: "Number", float: "Number"}
# Those of which TensorFlow Serving makes an infinity of a number that is too large.
_OVERFLOWING = ("DT_FLOAT", "DT_DOUBLE")

ROWS, COLUMNS = "instances", "inputs"


def inputs_of(
    document: dict[str, Any], dtypes: Mapping[str, str], optional: Collection[str]
) -> tuple[str, dict[str, np.ndarray]]:
    """Which form a request has, and its tensors by name. `dtypes` are the wire's names of the signature's inputs, of
    which those that are `optional` need not be there. InvalidRequest says what does not fit."""
    if not dtypes:
        raise InvalidRequest("Failed to get input map for signature: it takes no inputs")
    forms = [key for key in (ROWS, COLUMNS) if key in document]
    if not forms:
        raise InvalidRequest("Missing 'inputs' or 'instances' key")
    if len(forms) == 2:
        raise InvalidRequest(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    value = document[forms[0]]
    if forms[0] == COLUMNS:
        return COLUMNS, _columns(value, dtypes, optional)
    if not isinstance(value, list):
        raise InvalidRequest(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not value:
        raise InvalidRequest(f"JSON Value: {shown(document)} No values in 'instances' array")
    return ROWS, _rows(value, dtypes, optional)


def to_array(value: Any, dtype_name: str) -> np.ndarray:
    """A tensor from nested lists. InvalidRequest if they are uneven, or hold what the type does not."""
    dtype = NUMPY_TYPES.get(dtype_name)
    kind = "f" if dtype_name == "DT_BFLOAT16" else dtype.kind if dtype is not None else ""
    if dtype is None or kind not in _JSON_TYPES:
        raise NotSupported(
            f"Conversion of JSON Value: {shown(value)} to type: {SHORT_NAMES.get(dtype_name, dtype_name)}"
        )
    shape = _shape(value)
    if len(shape) > _RANK_MAX:
        raise InvalidRequest(f"lists nest deeper than {_RANK_MAX}")
    items = _leaves(value, shape)
    if items is None or not set(map(type, items)) <= _JSON_TYPES[kind]:
        _explain(value, shape, 0, dtype_name, kind)
        raise AssertionError("a tensor that does not fit has a reason")
    return _CONVERSIONS[kind](items, dtype_name, dtype).reshape(shape)


def is_b64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def from_b64(value: dict[str, Any]) -> bytes:
    """The bytes of a {"b64": text}, in the standard or in the URL-safe alphabet, padded or not."""
    text = value[_B64].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("Unable to base64 decode") from None


def json_type(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    return str(value) if isinstance(value, bool) else _JSON_NAMES[type(value)]


def _columns(value: Any, dtypes: Mapping[str, str], optional: Collection[str]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_b64(value):
        if len(dtypes) > 1:
            raise InvalidRequest(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((name, dtype),) = dtypes.items()
        return {name: to_array(value, dtype)}
    for name in dtypes:
        if name not in value and name not in optional:
            raise InvalidRequest(f"Missing named input: {name} in 'inputs' object.")
    # Beside all inputs TensorFlow Serving ignores others; where one is left out, another may be its misspelling.
    if not dtypes.keys() <= value.keys():
        for name in value:
            if name not in dtypes:
                raise InvalidRequest(f"'{name}' in 'inputs' is no input; the signature has {', '.join(sorted(dtypes))}")
    return {name: _named(name, value[name], dtype) for name, dtype in dtypes.items() if name in value}


def _named(name: str, value: Any, dtype: str) -> np.ndarray:
    try:
        return to_array(value, dtype)
    except InvalidRequest as error:
        raise InvalidRequest(f"input {name}: {error}") from None


def _rows(rows: list[Any], dtypes: Mapping[str, str], optional: Collection[str]) -> dict[str, np.ndarray]:
    if not _is_object(rows[0]):
        if len(dtypes) > 1:
            raise InvalidRequest(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        for index, row in enumerate(rows):
            if _is_object(row):
                raise InvalidRequest(f"Expecting value/list but got object at item {index} of input list")
        ((name, dtype),) = dtypes.items()
        return {name: _column("", rows, dtype)}
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise InvalidRequest(f"Expecting object but got list at item {index} of input list")
        if row.keys() != names or not dtypes.keys() - set(optional) <= row.keys() <= dtypes.keys():
            raise InvalidRequest(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} keys must be equal "
                f"to: {','.join(sorted(dtypes))}"
            )
    return {name: _column(f" key: {name}", [row[name] for row in rows], dtypes[name]) for name in names}


def _column(key: str, values: list[Any], dtype: str) -> np.ndarray:
    try:
        return to_array(values, dtype)
    except InvalidRequest as error:
        index, reason = _faulty_row(values, dtype) or (0, str(error))
        raise InvalidRequest(f"Failed to process element: {index}{key} of 'instances' list. Error: {reason}") from None


def _faulty_row(values: list[Any], dtype: str) -> tuple[int, str] | None:
    """The first row that is no tensor, or none like the first, and why. None if it is the rows together."""
    first: tuple[int, ...] | None = None
    for index, value in enumerate(values):
        try:
            shape = to_array(value, dtype).shape
        except InvalidRequest as error:
            return index, str(error)
        first = shape if first is None else first
        size, first_size = int(np.prod(shape)), int(np.prod(first))
        if size != first_size:
            return index, f"Expecting tensor size: {first_size} but got: {size}"
        if shape != first:
            return index, f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}"
    return None


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_b64(value)


def _shape(value: Any) -> tuple[int, ...]:
    """By the first item of each list; those deeper than a tensor may be are not looked at."""
    shape: list[int] = []
    while isinstance(value, list) and len(shape) <= _RANK_MAX:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """The items of nested lists in order; None if these do not have the shape throughout."""
    if not shape:
        return None if isinstance(value, list) else [value]
    items: list[Any] = value
    for size in shape[1:]:
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        items = list(chain.from_iterable(items))
    return items


def _explain(value: Any, shape: tuple[int, ...], level: int, dtype_name: str, kind: str) -> None:
    """Raises the InvalidRequest for the first item that does not fit."""
    if isinstance(value, list):
        if level >= len(shape):
            raise InvalidRequest(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise InvalidRequest(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for item in value:
            _explain(item, shape, level + 1, dtype_name, kind)
    elif level != len(shape):
        raise InvalidRequest(
            f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    elif type(value) not in _JSON_TYPES[kind]:
        raise _type_error(value, dtype_name)


def _type_error(value: Any, dtype_name: str) -> InvalidRequest:
    return InvalidRequest(
        f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {SHORT_NAMES[dtype_name]}"
    )


def _floats(items: list[Any], dtype_name: str, dtype: np.dtype) -> np.ndarray:
    # By way of doubles, as the numbers of JSON are; a whole number is rounded to the nearest.
    doubles = np.array(items, np.float64)
    with np.errstate(over="ignore"):
        array = doubles.astype(dtype)
    if dtype_name not in _OVERFLOWING:
        lost = np.isfinite(doubles) & ~np.isfinite(array.astype(np.float64))
        if lost.any():
            value = items[int(np.argmax(lost))]
            raise InvalidRequest(f"JSON Value: {shown(value)} is out of the range of {SHORT_NAMES[dtype_name]}")
    return array


def _integers(items: list[Any], dtype_name: str, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    if items and not (limits.min <= min(items) and max(items) <= limits.max):
        raise _type_error(next(item for item in items if not limits.min <= item <= limits.max), dtype_name)
    return np.array(items, dtype)


def _booleans(items: list[Any], dtype_name: str, dtype: np.dtype) -> np.ndarray:
    return np.array(items, dtype)


def _strings(items: list[Any], dtype_name: str, dtype: np.dtype) -> np.ndarray:
    array = np.empty(len(items), dtype)
    array[:] = [item.encode() if isinstance(item, str) else _bytes_of(item, dtype_name) for item in items]
    return array


def _bytes_of(value: Any, dtype_name: str) -> bytes:
    if not is_b64(value):
        raise InvalidRequest(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    return from_b64(value)


_CONVERSIONS: dict[str, Callable[[list[Any], str, np.dtype], np.ndarray]] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}
