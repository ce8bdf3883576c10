"""Tensors as TensorFlow Serving's REST API has them in JSON: rows ("instances") or columns ("inputs").

Lists nest as deep as the tensor's rank. Text is UTF-8; bytes stand as {"b64": text}. Errors say what TensorFlow Serving
says, where it has a sentence for it.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from processor.errors import InvalidRequest, NotSupported
from processor.gateway.http.json_text import shown
from processor.tensors import NUMPY_TYPES, SHORT_NAMES

_BYTES_SUFFIX = "_bytes"  # outputs so named are bytes, not text
_B64 = "b64"
_KINDS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}

ROWS, COLUMNS = "instances", "inputs"


def inputs_of(
    document: dict[str, Any], dtypes: Mapping[str, str], optional: Collection[str]
) -> tuple[str, dict[str, np.ndarray]]:
    """Which form a request has, and its tensors by name. `dtypes` are the wire's names of the signature's inputs, of
    which those that are `optional` need not be there. InvalidRequest says what does not fit."""
    if not dtypes:
        raise InvalidRequest("Failed to get input map for signature: it takes no inputs")
    both = [key for key in (ROWS, COLUMNS) if key in document]
    if not both:
        raise InvalidRequest("Missing 'inputs' or 'instances' key")
    if len(both) == 2:
        raise InvalidRequest(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    value = document[both[0]]
    if both[0] == COLUMNS:
        return COLUMNS, _columns(value, dtypes, optional)
    if not isinstance(value, list):
        raise InvalidRequest(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
    if not value:
        raise InvalidRequest(f"JSON Value: {shown(document)} No values in 'instances' array")
    return ROWS, _rows(value, dtypes, optional)


def outputs_as_rows(arrays: Mapping[str, np.ndarray]) -> list[Any] | np.ndarray:
    """A value for each row, or an object where there are several outputs."""
    rows = {len(array) if array.ndim else -1 for array in arrays.values()}
    if len(rows) != 1 or -1 in rows:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
        raise InvalidRequest(
            f"the outputs have no first axis in common ({shapes}), so they are no rows; send 'inputs' instead of "
            "'instances', or name one signature whose outputs are"
        )
    values = {name: _to_json(name, array) for name, array in arrays.items()}
    if len(values) == 1:
        (only,) = values.values()
        return only
    return [{name: value[row] for name, value in values.items()} for row in range(rows.pop())]


def outputs_as_columns(arrays: Mapping[str, np.ndarray]) -> Any:
    """An object of whole tensors, or the only one by itself."""
    values = {name: _to_json(name, array) for name, array in arrays.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def is_b64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def from_b64(value: dict[str, Any]) -> bytes:
    """The bytes of a {"b64": text}, in the standard or in the URL-safe alphabet, padded or not."""
    text = value[_B64].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("Unable to base64 decode") from None


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
    for name in value:
        if name not in dtypes:
            raise InvalidRequest(f"'{name}' in 'inputs' is no input; the signature has {', '.join(sorted(dtypes))}")
    return {name: _named(name, item, dtypes[name]) for name, item in value.items()}


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
        return {name: _column(name, rows, dtype)}
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise InvalidRequest(f"Expecting object but got list at item {index} of input list")
        if row.keys() != names or not dtypes.keys() - set(optional) <= row.keys() <= dtypes.keys():
            raise InvalidRequest(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} keys must be equal "
                f"to: {','.join(sorted(dtypes))}"
            )
    return {name: _column(name, [row[name] for row in rows], dtypes[name]) for name in names}


def _column(name: str, values: list[Any], dtype: str) -> np.ndarray:
    try:
        return to_array(values, dtype)
    except InvalidRequest as error:
        raise InvalidRequest(f"Failed to process 'instances' list, input {name}. Error: {error}") from None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_b64(value)


def to_array(value: Any, dtype_name: str) -> np.ndarray:
    """A tensor from nested lists. InvalidRequest if they are uneven, or hold what the type does not."""
    if dtype_name == "DT_STRING":
        return _strings(value)
    short = SHORT_NAMES.get(dtype_name, dtype_name)
    dtype = NUMPY_TYPES.get(dtype_name)
    kind = "f" if dtype_name == "DT_BFLOAT16" else dtype.kind if dtype is not None else ""
    if dtype is None or kind not in _KINDS:
        raise NotSupported(f"Conversion of JSON Value: {shown(value)} to type: {short}")
    if kind != "b":
        _check_no_bool(value, short)
    try:
        found = np.array(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"JSON Value: {shown(value)} has lists of unequal size or depth") from None
    if found.size == 0:
        return found.astype(dtype)
    if found.dtype.kind not in _KINDS[kind]:
        raise InvalidRequest(f"JSON Value: {shown(value)} is not of expected type: {short}")
    with np.errstate(over="ignore"):
        array = found.astype(dtype)
    lossy = np.isfinite(found) & ~np.isfinite(array.astype(np.float64)) if kind == "f" else array != found
    if kind != "b" and lossy.any():
        raise InvalidRequest(f"Cannot convert JSON value: {shown(value)} to {short} without loss of precision.")
    return array


def _check_no_bool(value: Any, short: str) -> None:
    """numpy would make numbers of them."""
    if isinstance(value, list):
        # One look at a flat list of floats, which most are.
        if set(map(type, value)) <= {int, float}:
            return
        for item in value:
            _check_no_bool(item, short)
    elif isinstance(value, bool):
        raise InvalidRequest(f"JSON Value: {shown(value)} is not of expected type: {short}")


def _strings(value: Any) -> np.ndarray:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    if len(shape) > 64:
        raise InvalidRequest("lists nest deeper than 64")
    items: list[bytes] = []
    _collect(value, shape, 0, items)
    array = np.empty(len(items), np.object_)
    array[:] = items
    return array.reshape(shape)


def _collect(value: Any, shape: list[int], level: int, items: list[bytes]) -> None:
    if level == len(shape):
        if isinstance(value, str):
            items.append(value.encode(errors="surrogatepass"))
        elif is_b64(value):
            items.append(from_b64(value))
        elif isinstance(value, list):
            raise InvalidRequest(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        else:
            raise InvalidRequest(f"JSON Value: {shown(value)} is not of expected type: string")
    elif not isinstance(value, list):
        raise InvalidRequest(
            f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    elif len(value) != shape[level]:
        raise InvalidRequest(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    else:
        for item in value:
            _collect(item, shape, level + 1, items)


def _to_json(name: str, array: np.ndarray) -> Any:
    """What JSON can carry: an array of numbers, or nested lists of text and bytes."""
    if array.dtype.kind == "O":
        return _text(array.tolist(), name.endswith(_BYTES_SUFFIX))
    if array.dtype.kind == "c":
        raise NotSupported(f"output {name} is of complex numbers, which JSON cannot carry")
    if array.dtype == NUMPY_TYPES["DT_BFLOAT16"]:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _text(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_text(item, as_bytes) for item in value]
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            as_bytes = True
    return {_B64: base64.b64encode(value).decode()}
