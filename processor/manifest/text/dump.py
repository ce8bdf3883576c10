"""A manifest as the YAML that would give it: only what differs from the defaults."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from corelane.processor.manifest.settings import HostSettings, ListenSettings, Manifest, ModelSettings, VersionPolicy


def to_yaml(manifest: Manifest) -> str:
    document: dict[str, Any] = {}
    for name, settings, default in (
        ("listen", manifest.listen, ListenSettings()),
        ("host", manifest.host, HostSettings()),
    ):
        if changed := _changed(settings, default):
            document[name] = changed
    document["models"] = [_model(model) for model in manifest.models]
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)
    return text


def _model(model: ModelSettings) -> dict[str, Any]:
    plain = _changed(model, ModelSettings(name="", path=Path()))
    plain.pop("labels", None)
    if "versions" in plain:
        plain["versions"] = _versions(model.versions)
    return plain


def _versions(policy: VersionPolicy) -> Any:
    if policy.kind == "latest":
        return {"latest": policy.latest}
    if policy.kind == "all":
        return {"all": True}
    return [{name: value for name, value in _plain(entry).items() if value is not None} for entry in policy.listed]


def _changed(settings: Any, default: Any) -> dict[str, Any]:
    changed = {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != getattr(default, field.name)
    }
    # Where none is not the default, it has to be said.
    return {name: "none" if value is None else value for name, value in changed.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path) else value
