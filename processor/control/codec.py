"""Dataclasses as JSON and back, checked against their types.

A dataclass is an object with a key for each field, defaults included: no key is missing, none is unknown. Tuples are
arrays, mappings arrays of pairs, bytes base64; enums and paths are their values. Where a type names several
dataclasses, an object says under "type" which of them it is.
"""

import base64
import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from corelane.processor.errors import InvalidMessage

TAG = "type"

_SCALARS = (str, int, bool, type(None))

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """Both directions of one type. `pack` makes JSON's values of a value and is None where that is the value itself;
    `unpack` checks: InvalidMessage for anything but this type."""

    pack: Convert | None
    unpack: Convert


@functools.cache
def codec_of(annotation: Any) -> Codec:
    """The codec of a type. TypeError if messages cannot have values of it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _SCALARS:
        return Codec(pack=None, unpack=functools.partial(_exactly, annotation))
    if annotation is float:
        return Codec(pack=None, unpack=_to_float)
    if annotation is bytes:
        return Codec(pack=lambda value: base64.b64encode(value).decode(), unpack=_to_bytes)
    if annotation is Path:
        return Codec(pack=str, unpack=lambda value: Path(_exactly(str, value)))
    if dataclasses.is_dataclass(annotation):
        return _codec_of_dataclass(typing.cast(type, annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _codec_of_choices({member.value: member for member in annotation}, lambda member: member.value)
    if origin is typing.Literal:
        return _codec_of_choices({value: value for value in arguments}, None)
    if origin in (typing.Union, types.UnionType):
        return _codec_of_union(arguments)
    if origin is tuple:
        return _codec_of_tuple(arguments)
    if origin is Mapping:
        pairs = _codec_of_tuple((tuple.__class_getitem__(arguments), Ellipsis))
        return Codec(pack=lambda value: _packed(pairs, value.items()), unpack=lambda value: _to_mapping(pairs, value))
    raise TypeError(f"messages have no values of {annotation}")


def _packed(codec: Codec, value: Any) -> Any:
    return value if codec.pack is None else codec.pack(value)


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _mismatch(kind.__name__, value)
    return value


def _mismatch(expected: str, value: Any) -> InvalidMessage:
    return InvalidMessage(f"{type(value).__name__} instead of {expected}")


def _to_float(value: Any) -> float:
    """JSON does not tell 1 from 1.0."""
    if type(value) not in (float, int):
        raise _mismatch("float", value)
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidMessage("the number is too large for a float") from error


def _to_bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_exactly(str, value), validate=True)
    except ValueError as error:
        raise InvalidMessage(f"no base64: {error}") from error


def _to_mapping(pairs: Codec, value: Any) -> dict[Any, Any]:
    items = pairs.unpack(value)
    mapping = dict(items)
    if len(mapping) < len(items):
        raise InvalidMessage("a key stands twice")
    return mapping


def _codec_of_choices(choices: Mapping[Any, Any], pack: Convert | None) -> Codec:
    """One of a few values: `choices` by what stands for them in JSON."""
    expected = " or ".join(map(repr, choices))
    kinds = {type(value) for value in choices}

    def unpack(value: Any) -> Any:
        if type(value) not in kinds or value not in choices:
            raise InvalidMessage(f"{value!r:.100} instead of {expected}")
        return choices[value]

    return Codec(pack=pack, unpack=unpack)


def _codec_of_tuple(arguments: tuple[Any, ...]) -> Codec:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = codec_of(arguments[0])
        pack = item.pack
        return Codec(
            pack=list if pack is None else lambda value: [pack(part) for part in value],
            unpack=lambda value: tuple(item.unpack(part) for part in _exactly(list, value)),
        )
    items = [codec_of(argument) for argument in arguments]

    def unpack(value: Any) -> Any:
        if len(_exactly(list, value)) != len(items):
            raise InvalidMessage(f"{len(value)} values instead of {len(items)}")
        return tuple(codec.unpack(part) for codec, part in zip(items, value, strict=True))

    return Codec(
        pack=lambda value: [_packed(codec, part) for codec, part in zip(items, value, strict=True)], unpack=unpack
    )


def _codec_of_union(members: tuple[Any, ...]) -> Codec:
    """Of dataclasses, told apart by their names, or of one type; and None, if it is among them."""
    others = [member for member in members if member is not type(None)]
    if len(others) == 1:
        codec = codec_of(others[0])
    elif all(map(dataclasses.is_dataclass, others)):
        codec = _codec_of_kinds(others)
    else:
        raise TypeError(f"JSON does not tell {members} apart")
    if len(others) == len(members):
        return codec
    pack = codec.pack
    return Codec(
        pack=None if pack is None else lambda value: None if value is None else pack(value),
        unpack=lambda value: None if value is None else codec.unpack(value),
    )


def _codec_of_kinds(kinds: list[type]) -> Codec:
    codecs = {kind.__name__: codec_of(kind) for kind in kinds}
    if len(codecs) < len(kinds) or any(hasattr(kind, TAG) for kind in kinds):
        raise TypeError(f"two of {kinds} share a name, or one has a field {TAG}")

    def pack(value: Any) -> Any:
        name = type(value).__name__
        return {TAG: name, **_packed(codecs[name], value)}

    def unpack(value: Any) -> Any:
        fields = dict(_exactly(dict, value))
        name = fields.pop(TAG, None)
        if not isinstance(name, str) or name not in codecs:
            raise InvalidMessage(f"{name!r:.100} is no kind of message here")
        return codecs[name].unpack(fields)

    return Codec(pack=pack, unpack=unpack)


def _codec_of_dataclass(kind: type) -> Codec:
    hints = typing.get_type_hints(kind)
    codecs = {field.name: codec_of(hints[field.name]) for field in dataclasses.fields(kind)}
    packs = [(name, codec.pack) for name, codec in codecs.items()]

    def pack(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) if pack is None else pack(getattr(value, name)) for name, pack in packs}

    def unpack(value: Any) -> Any:
        if type(value) is not dict:
            raise _mismatch(kind.__name__, value)
        if value.keys() != codecs.keys():
            raise InvalidMessage(_other_fields(kind, value.keys(), codecs.keys()))
        fields = {}
        for name, codec in codecs.items():
            try:
                fields[name] = codec.unpack(value[name])
            except InvalidMessage as error:
                raise InvalidMessage(f"{kind.__name__}.{name}: {error}") from error
        return kind(**fields)

    return Codec(pack=pack, unpack=unpack)


def _other_fields(kind: type, given: typing.AbstractSet[str], expected: typing.AbstractSet[str]) -> str:
    missing, unknown = sorted(expected - given), sorted(given - expected)
    parts = [f"no {', '.join(missing)}"] if missing else []
    if unknown:
        parts.append(f"an unknown {', '.join(unknown):.100}")
    return f"{kind.__name__} with {' and '.join(parts)}"
