"""What differs between two manifests, and where calls go by one, in sentences for whoever applies it."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from corelane.processor.errors import ControlError
from corelane.processor.manifest.settings import Manifest, ModelSettings, VersionSettings
from corelane.scheduler.numbers import percent

_ENTRY_KEYS = ("role", "label", "traffic", "shadow")


def changes(before: Manifest, after: Manifest) -> list[str]:
    """A sentence for each difference, by model; empty if there is none."""
    sentences = []
    for section in ("listen", "host"):
        sentences += [f"{section}.{text}" for text in _differences(getattr(before, section), getattr(after, section))]
    old = {model.name: model for model in before.models}
    new = {model.name: model for model in after.models}
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            sentences.append(f"{name} is removed: its versions are unloaded")
        elif name not in old:
            sentences.append(f"{name} is added: {new[name].path}, {_policy(new[name])}")
        else:
            sentences += [f"{name}: {text}" for text in _of_model(old[name], new[name])]
    return sentences


def check_applicable(before: Manifest, after: Manifest) -> None:
    """ControlError if the second asks for what only a restart can do."""
    for section in ("listen", "host"):
        if getattr(before, section) != getattr(after, section):
            raise ControlError(f"{section} cannot change while the server runs; stop it and serve the new manifest")


def label_moves(before: ModelSettings, after: ModelSettings) -> list[str]:
    """A sentence for each label that another version has afterwards."""
    old, new = dict(before.labels), dict(after.labels)
    moves = []
    for label in [*old, *(label for label in new if label not in old)]:
        if old.get(label) != new.get(label):
            places = [f"version {place[label]}" if label in place else "nowhere" for place in (old, new)]
            moves.append(f"label {label} of model {after.name} moves from {places[0]} to {places[1]}")
    return moves


def where_calls_go(model: ModelSettings) -> str:
    """Of those that name no version, of a model with listed versions."""
    entries = model.versions.listed
    if not any(entry.traffic for entry in entries):
        answering = [entry.version for entry in entries if entry.shadow is None]
        return f"calls of model {model.name}: version {max(answering)}, the highest"
    shares = ", ".join(f"version {entry.version} {percent(entry.traffic)} %" for entry in entries if entry.traffic)
    shadows = [f", copied to version {e.version} {percent(e.shadow)} %" for e in entries if e.shadow]
    return f"calls of model {model.name}: {shares}{''.join(shadows)}"


def _of_model(before: ModelSettings, after: ModelSettings) -> Iterator[str]:
    yield from _differences(dataclasses.replace(before, versions=after.versions, labels=after.labels), after)
    old, new = before.versions, after.versions
    if old.kind != "listed" or new.kind != "listed":
        if old != new:
            yield f"versions {_policy(before)} -> {_policy(after)}"
        return
    entries = {entry.version: entry for entry in old.listed}
    for entry in new.listed:
        if entry.version not in entries:
            yield f"version {entry.version} is added{_settings(entry)}"
        else:
            differing = list(_differences(entries[entry.version], entry))
            if differing:
                yield f"version {entry.version}: {', '.join(differing)}"
    remaining = {entry.version for entry in new.listed}
    yield from (f"version {version} is removed: it is unloaded" for version in entries if version not in remaining)


def _differences(before: Any, after: Any, prefix: str = "") -> Iterator[str]:
    """Of two settings of one kind, field by field."""
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        if dataclasses.is_dataclass(old) and dataclasses.is_dataclass(new):
            yield from _differences(old, new, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return percent(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = ", ".join(f"{f.name}: {_shown(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return "{" + inner + "}"
    return "not set" if value is None else str(value)


def _policy(model: ModelSettings) -> str:
    versions = model.versions
    if versions.kind == "listed":
        return "versions " + ", ".join(str(entry.version) for entry in versions.listed)
    return "all versions" if versions.kind == "all" else f"the latest {versions.latest}"


def _settings(entry: VersionSettings) -> str:
    said = [f"{key} {_shown(value)}" for key in _ENTRY_KEYS if (value := getattr(entry, key)) is not None]
    return f": {', '.join(said)}" if said else ""
