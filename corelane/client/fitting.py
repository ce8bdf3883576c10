"""Values to the arrays that a signature asks for: its type, its rank, nothing lost."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES

# Up to this, every integer is a float of this type exactly: 2 ** (bits of the significand).
_EXACT = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "complex64": 24, "complex128": 53}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a signature asks for: `shape` has -1 for any size, and is None where the rank is unknown."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


def as_numpy_makes_it(name: str, value: Any) -> np.ndarray:
    """The array of a value whose input is not known: floats and integers of Python's become float32 and int64."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f'input "{name}": {error}') from error
    if not isinstance(value, np.ndarray | np.generic):
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype.kind == "i":
            array = array.astype(np.int64)
    return array


def fitted(value: Any, to: Input) -> np.ndarray:
    """The value as an array that the input takes. InvalidRequest, naming the input, if that would lose anything.

    Floats are rounded to the input's precision; that is no loss, but to leave its range is. An array whose shape does
    not fit goes as it is, because some graphs take more shapes than their signatures say."""
    if to.dtype not in NUMPY_TYPES:
        raise InvalidRequest(f'input "{to.name}" is of type {to.dtype}, which cannot be sent')
    array = _strings(value, to) if to.dtype == "DT_STRING" else _numbers(value, to)
    if to.shape is None:
        return array
    shape = fitting_shape(array.shape, to.shape)
    if shape is not None:
        return array.reshape(shape)
    if isinstance(value, np.ndarray):
        return array
    raise InvalidRequest(
        f'input "{to.name}" takes shape {list(to.shape)} (-1: any size); the value has {list(array.shape)}'
    )


def fitting_shape(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape with sizes of one added or taken away so that it fits; None if it can't.

    Ones are added in front first, where the batch stands, then behind; and taken away behind only."""

    def fits(candidate: tuple[int, ...]) -> bool:
        return all(size in (-1, have) for size, have in zip(to, candidate, strict=True))

    lacking = len(to) - len(shape)
    for behind in range(lacking + 1):
        candidate = (1,) * (lacking - behind) + shape + (1,) * behind
        if fits(candidate):
            return candidate
    if lacking < 0 and all(size == 1 for size in shape[len(to) :]) and fits(shape[: len(to)]):
        return shape[: len(to)]
    return None


def _refusal(to: Input, reason: str) -> InvalidRequest:
    return InvalidRequest(f'input "{to.name}": {reason}')


def _no_fit(to: Input, flat: Any, fits: Any, shape: tuple[int, ...]) -> InvalidRequest:
    """Names the first element that does not fit."""
    index = int(np.argmin(fits))
    at = [int(position) for position in np.unravel_index(index, shape)] if shape else []
    where = f" (at {at})" if at else ""
    return _refusal(to, f"{flat[index]!s}{where} is no {SHORT_NAMES[to.dtype]}, which the model takes, without loss")


def _objects(value: Any, to: Input) -> np.ndarray:
    """The value's elements as they are. An array of objects; InvalidRequest for rows of different lengths."""
    try:
        array = np.asarray(value, np.object_)
    except ValueError:
        raise _refusal(to, "its rows have different lengths") from None
    for index, item in enumerate(array.ravel().tolist()):
        if isinstance(item, list | tuple | np.ndarray):
            raise _refusal(to, "its rows have different lengths")
        if item is None:
            raise _refusal(to, f"value {index} is missing (None)")
    return array


def _strings(value: Any, to: Input) -> np.ndarray:
    """Bytes in an array of objects. Text is made of objects, since numpy's own strings lose zeros at their ends."""
    array = _objects(value, to)
    flat = array.ravel().tolist()
    for item in flat:
        if not isinstance(item, str | bytes):
            raise _refusal(to, f"{item!r} is {type(item).__name__}, the model takes text: str({item!r})?")
    strings = np.empty(len(flat), np.object_)
    try:
        strings[:] = [item.encode() if isinstance(item, str) else item for item in flat]
    except UnicodeEncodeError as error:
        raise _refusal(to, f"its text has no UTF-8: {error}") from None
    return strings.reshape(array.shape)


def _numbers(value: Any, to: Input) -> np.ndarray:
    dtype = NUMPY_TYPES[to.dtype]
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
    else:
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            array = _objects(value, to)
        # numpy makes floats of integers beyond 64 bits, and of those beside floats, which may round them.
        if array.dtype.kind == "f" and array.size and not (np.abs(array) < 2**53).all():
            array = _objects(value, to)
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "V" and array.dtype.names is None and array.dtype.itemsize <= 2:
        array = array.astype(np.float32)  # bfloat16 and its like
    if array.dtype.kind in "SU":
        raise _refusal(to, f"{array.ravel()[0].item()!r} is text, the model takes {SHORT_NAMES[to.dtype]}")
    if array.dtype.kind == "O":
        return _from_objects(_objects(array, to), dtype, to)
    if array.dtype.kind not in "biufc":
        raise _refusal(to, f"arrays of {array.dtype} cannot be sent, the model takes {SHORT_NAMES[to.dtype]}")
    return _cast(array, dtype, to)


def _from_objects(array: np.ndarray, dtype: np.dtype, to: Input) -> np.ndarray:
    """Each element by itself: Python's numbers are of any size."""
    numbers = np.empty(array.size, dtype)
    for index, item in enumerate(array.ravel().tolist()):
        if isinstance(item, str | bytes) or (
            not hasattr(item, "__complex__") and not hasattr(item, "__float__") and (not isinstance(item, int))
        ):
            raise _refusal(to, f"{item!r} is {type(item).__name__}, the model takes {SHORT_NAMES[to.dtype]}")
        try:
            if isinstance(item, int) and not isinstance(item, bool):
                numbers[index] = _cast_integer(item, dtype)
            else:
                numbers[index] = _cast(np.asarray(item if isinstance(item, complex) else float(item)), dtype, to)
        except (OverflowError, ValueError):
            raise _refusal(to, f"{item!s} is no {SHORT_NAMES[to.dtype]}, which the model takes, without loss") from None
    return numbers.reshape(array.shape)


def _cast_integer(item: int, dtype: np.dtype) -> Any:
    """An integer of any size; ValueError or OverflowError if the type does not have it."""
    if dtype.kind == "b":
        made = np.asarray(bool(item))
    else:
        made = np.asarray(item if dtype.kind in "iu" else float(item)).astype(dtype)
    if int(made.real) != item:
        raise ValueError(item)
    return made


def _significand(dtype: np.dtype) -> int | None:
    return _EXACT.get(dtype.name)


def _cast(array: np.ndarray, dtype: np.dtype, to: Input) -> np.ndarray:
    if array.dtype == dtype or array.dtype.kind == "b":
        return array.astype(dtype)
    flat = array.ravel()
    fits = _fits(flat, dtype)
    if not fits.all():
        raise _no_fit(to, flat, fits, array.shape)
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def _fits(flat: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whether each number is one of the type, floats' rounding apart."""
    with np.errstate(all="ignore"):
        if dtype.kind == "b":
            return (flat == 0) | (flat == 1)
        if flat.dtype.kind == "c":
            if dtype.kind != "c":
                return (flat.imag == 0) & _fits(flat.real, dtype)
            made = flat.astype(dtype)
            return np.isfinite(made) | ~np.isfinite(flat)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if flat.dtype.kind == "f":
                # The upper limit is no float itself, the next number is.
                whole = np.isfinite(flat) & (flat == np.trunc(flat))
                wide = flat.astype(np.float64)
                return whole & (wide >= float(limits.min)) & (wide < float(int(limits.max) + 1))
            return _between(flat, int(limits.min), int(limits.max))
        if flat.dtype.kind in "iu":
            bits = _significand(dtype)
            assert bits is not None
            fits = _between(flat, -(2**bits), 2**bits)
            for index in np.flatnonzero(~fits):
                item = int(flat[index])
                made = np.asarray(item, np.float64).astype(dtype)
                value = complex(made).real if dtype.kind == "c" else float(made)
                fits[index] = np.isfinite(value) and int(value) == item
            return fits
        part = np.dtype(np.float32) if dtype.name == "complex64" else dtype
        if part.kind == "c":
            return np.ones(flat.shape, np.bool_)
        return np.isfinite(flat.astype(part).astype(np.float32 if part.itemsize < 4 else part)) | ~np.isfinite(flat)


def _between(flat: np.ndarray, low: int, high: int) -> np.ndarray:
    """By limits of the array's own type, since numpy compares no larger ones exactly."""
    own = np.iinfo(flat.dtype)
    return (flat >= max(low, int(own.min))) & (flat <= min(high, int(own.max)))
