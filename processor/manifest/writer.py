"""Writing a model's versions back into the manifest's file, comments and all the rest left as they are."""

import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from processor.manifest.files import read_text
from processor.manifest.settings import ModelSettings, VersionSettings


def write_versions(path: Path, model: ModelSettings) -> None:
    """Puts the version list of a model into the file. OSError if it cannot be written; ValueError if the file does not
    have the model."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    old_text = read_text(path)
    dashes = re.search(r"^models:[^\n]*\n(?: *(?:#[^\n]*)?\n)*( *)-", old_text, re.MULTILINE)
    offset = len(dashes[1]) if dashes else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    document = yaml.load(old_text)
    entry = next((one for one in document.get("models", ()) if one.get("name") == model.name), None)
    if entry is None or not isinstance(entry.get("versions"), list):
        raise ValueError(f"{path} has no list of versions of model {model.name}")
    old = {one["version"]: one for one in entry["versions"]}
    for settings in model.versions.listed:
        if settings.version not in old:
            raise ValueError(f"{path} does not list version {settings.version} of model {model.name}")
        _update(old[settings.version], settings)
    text = io.StringIO()
    yaml.dump(document, text)
    _replace(path, text.getvalue())


def _update(entry: Any, settings: VersionSettings) -> None:
    """Only what differs, so that what stands there stays as it was written."""
    for key in ("role", "label", "traffic", "shadow"):
        value = getattr(settings, key)
        if value is None:
            entry.pop(key, None)
        elif entry.get(key, "baseline" if key == "role" else None) != value:
            entry[key] = int(value) if isinstance(value, float) and value.is_integer() else value


def _replace(path: Path, text: str) -> None:
    """At once, or not at all."""
    target = path.resolve()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, target.stat().st_mode)
            os.fsync(descriptor)
        Path(temporary).replace(target)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
