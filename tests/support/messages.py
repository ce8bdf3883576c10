"""Values of messages' types, for property tests."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any values of a type that messages have, with every field of dataclasses drawn, also those with defaults."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(annotation)}
        return st.builds(typing.cast(Any, annotation), **fields)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is Mapping:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    if annotation is float:
        return st.floats(allow_nan=False)
    if annotation is Path:
        return st.text().map(Path)
    return st.from_type(annotation)
