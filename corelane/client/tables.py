"""Inputs as people have them: frames of pandas and polars, rows, one row; all become columns by name."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest


def columns_of(inputs: Any) -> dict[str, Any]:
    """{name: values}. A column of a frame is an array or a list; other values are as they were."""
    if _is_a(inputs, "pandas", "DataFrame") or _is_a(inputs, "polars", "DataFrame"):
        columns = [(name, inputs[name]) for name in _unique(inputs.columns)]
    elif isinstance(inputs, Mapping):
        columns = list(inputs.items())
    elif isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes) and len(inputs):
        columns = _transposed(inputs)
    else:
        raise InvalidRequest(
            "inputs are {name: values}, a list of rows that are dicts, or a frame of pandas or polars, "
            f"not {_shown(inputs)}"
        )
    named = {}
    for name, values in columns:
        if not isinstance(name, str):
            raise InvalidRequest(f"inputs have names that are text, not {name!r}")
        named[name] = _column(name, values)
    return named


def _unique(names: Iterable[Any]) -> list[Any]:
    names = list(names)
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"the frame has {names.count(name)} columns {name!r}")
    return names


def _shown(value: Any) -> str:
    return f"an empty {type(value).__name__}" if isinstance(value, Sequence) and not value else type(value).__name__


def _transposed(rows: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidRequest(f"row {index} of the inputs is no dict but {type(row).__name__}")
        if row.keys() != rows[0].keys():
            name = sorted(map(str, row.keys() ^ rows[0].keys()))[0]
            raise InvalidRequest(f'input "{name}": row {0 if name in rows[index] else index} lacks it, others have it')
    return [(name, [row[name] for row in rows]) for name in rows[0]]


def _column(name: str, values: Any) -> Any:
    if _is_a(values, "pandas", "Series"):
        return _of_pandas(name, values)
    if _is_a(values, "polars", "Series"):
        if values.null_count():
            raise _missing(name, int(values.is_null().arg_true()[0]))
        return values.to_numpy() if values.dtype.is_integer() or values.dtype.is_float() else values.to_list()
    return values


def _of_pandas(name: str, values: Any) -> Any:
    missing = values.isna().to_numpy()
    # NaN is a number to a float column; anything else that pandas calls missing is.
    is_float = isinstance(values.dtype, np.dtype) and values.dtype.kind == "f"
    if missing.any() and not is_float:
        raise _missing(name, int(missing.argmax()))
    if isinstance(values.dtype, np.dtype) and values.dtype.kind != "O":
        return values.to_numpy()
    return values.tolist()


def _missing(name: str, row: int) -> InvalidRequest:
    return InvalidRequest(f'input "{name}": row {row} has no value; fill it in before the call')


def _is_a(value: Any, module: str, kind: str) -> bool:
    """Whether a value is of a library's class, without importing the library."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, kind, ()))
