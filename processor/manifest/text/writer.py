"""Writing a model's versions back into the manifest's file, comments and all the rest left as they are."""

import dataclasses
import io
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from corelane.processor.errors import ManifestError
from corelane.processor.loading.model_files import real_path
from corelane.processor.manifest.loader import parse_manifest
from corelane.processor.manifest.settings import Manifest, ModelSettings, VersionSettings
from corelane.processor.manifest.text.files import read_text
from corelane.scheduler.numbers import percent


class _Representer(RoundTripRepresenter):
    """Writes our numbers; those that stand in the file stay as they were written."""

    def represent_float(self, data: float) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:float", percent(data))


_Representer.add_representer(float, _Representer.represent_float)


class Turn:
    """The right to change a file, which one thread can take once: whoever does not wait for the change any longer takes
    it, and then the file is not changed."""

    def __init__(self) -> None:
        self._left = threading.Lock()

    def take(self) -> bool:
        return self._left.acquire(blocking=False)


def write_versions(path: Path, model: ModelSettings, turn: Turn | None = None) -> bool:
    """Puts the version list of a model into the file, unless another has its turn; whether it did. What is written is
    read first, as the server would read it: it says of this model what `model` does, and of all else what it said
    before.

    OSError if it cannot be written; ValueError if the file does not have the model, or it cannot be put in."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    old_text = read_text(path)
    dashes = re.search(r"^models:[^\n]*\n(?: *(?:#[^\n]*)?\n)*( *)-", old_text, re.MULTILINE)
    offset = len(dashes[1]) if dashes else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    document = yaml.load(old_text)
    entry = next((item for item in document.get("models", ()) if item.get("name") == model.name), None)
    if entry is None or not isinstance(entry.get("versions"), list):
        raise ValueError(f"{path} has no list of versions of model {model.name}")
    old = {item["version"]: item for item in entry["versions"]}
    for settings in model.versions.listed:
        if settings.version not in old:
            raise ValueError(f"{path} does not list version {settings.version} of model {model.name}")
        _update(old[settings.version], settings, entry.get("role", "baseline"))
    text = io.StringIO()
    yaml.dump(document, text)
    _prove(path, old_text, text.getvalue(), model)
    return _replace(path, text.getvalue(), turn or Turn())


def _prove(path: Path, old_text: str, text: str, model: ModelSettings) -> None:
    base = real_path(path).parent
    try:
        expected = _with_versions(parse_manifest(old_text, source=str(path), base=base), model)
        written = parse_manifest(text, source=str(path), base=base)
    except ManifestError as error:
        raise ValueError(f"the file could not be read again as it would be written: {error}") from error
    if written != expected:
        raise ValueError(f"the versions of model {model.name} cannot be put into {path} without changing more")


def _with_versions(manifest: Manifest, changed: ModelSettings) -> Manifest:
    return dataclasses.replace(
        manifest,
        models=tuple(
            dataclasses.replace(model, versions=changed.versions, labels=changed.labels)
            if model.name == changed.name
            else model
            for model in manifest.models
        ),
    )


def _update(entry: Any, settings: VersionSettings, role: str) -> None:
    """Only what differs, so that what stands there stays as it was written."""
    for key in ("role", "label", "traffic", "shadow"):
        value = getattr(settings, key)
        if value is None:
            entry.pop(key, None)
        elif entry.get(key, role if key == "role" else None) != value:
            entry[key] = int(value) if isinstance(value, float) and value.is_integer() else value


def _replace(path: Path, text: str, turn: Turn) -> bool:
    """At once, or not at all; whether it was."""
    target = real_path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, target.stat().st_mode)
            os.fsync(descriptor)
        if not turn.take():
            Path(temporary).unlink()
            return False
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
