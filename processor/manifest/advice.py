"""What a valid manifest may surprise by, and what of it can never work on this host."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corelane.processor.loading.model_files import holds_model
from corelane.processor.manifest.paths import numbered_folders, remote_problem, rest_problem
from corelane.processor.manifest.settings import Manifest, ModelSettings
from corelane.processor.manifest.text.tree import Location
from corelane.processor.wire.version_numbers import is_number

_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`location` is the key's, under the model's. `is_fault`: it cannot work until manifest or files are changed; else
    what is missing may still come."""

    location: Location
    sentence: str
    is_fault: bool = False


def warnings(manifest: Manifest) -> list[str]:
    """A sentence for each finding, faults included: a server starts, and serves the rest."""
    return [told(model, finding) for model in manifest.models for finding in findings(model, written=str(model.path))]


def told(model: ModelSettings, finding: Finding) -> str:
    return finding.sentence if finding.location == ("name",) else f"model {model.name}: {finding.sentence}"


def name_warnings(models: Iterable[ModelSettings]) -> list[str]:
    """A sentence for each model that REST cannot name."""
    return [
        f"model {model.name!r} cannot be called by REST: {problem}; gRPC can call it"
        for model in models
        if (problem := rest_problem(model.name)) is not None
    ]


def findings(model: ModelSettings, written: str) -> Iterator[Finding]:
    """What to know of a model; `written` is its path as the manifest has it."""
    yield from (Finding(location=("name",), sentence=sentence) for sentence in name_warnings([model]))
    for index, library in enumerate(model.op_libraries):
        if not os.path.isfile(library):
            yield Finding(
                location=("op_libraries", index), sentence=f"{library} is not there; no load works without it"
            )
    path = model.path
    if problem := remote_problem(path):
        yield _of_path(problem, is_fault=True)
    elif path.is_dir():
        yield from _of_folder(model, written)
    elif os.path.lexists(path) and not path.is_symlink():
        yield _of_path(f"{path} is a file; {_instead_of_a_file(written)}", is_fault=True)
    else:
        yield _of_path(f"{path} is not there; it will be served when it is")


def _of_path(sentence: str, is_fault: bool = False) -> Finding:
    return Finding(location=("path",), sentence=sentence, is_fault=is_fault)


def _of_folder(model: ModelSettings, written: str) -> Iterator[Finding]:
    path = model.path
    try:
        folders, not_served = numbered_folders(path)
        own_model = not folders and holds_model(path)
        names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    except OSError as error:
        yield _of_path(f"{path} cannot be read: {error.strerror}")
        return
    yield from map(_of_path, not_served)
    if own_model:
        yield _of_path(_instead_of_a_version(path, written), is_fault=True)
    elif not folders:
        there = f"it has {_listed(names)}" if names else "it is empty"
        yield _of_path(f"{path} has no version, a folder with a number such as {path / '1'}; {there}")
    elif model.versions.kind == "listed":
        for index, entry in enumerate(model.versions.listed):
            here = ("versions", index, "version")
            if entry.version not in folders:
                yield Finding(
                    location=here,
                    sentence=f"{path / str(entry.version)} is not there; it will be served when it is; "
                    f"there {'is' if len(folders) == 1 else 'are'} {_listed([str(number) for number in folders])}",
                )
            elif _lacks_model(folders[entry.version]):
                yield Finding(location=here, sentence=_without_model(folders[entry.version]))
    else:
        newest = sorted(folders)[-model.versions.latest :] if model.versions.kind == "latest" else sorted(folders)
        for folder in (folders[version] for version in newest):
            if _lacks_model(folder):
                yield _of_path(_without_model(folder))


def _lacks_model(folder: Path) -> bool:
    """Not of one that cannot be read: whoever reads it says so."""
    with contextlib.suppress(OSError):
        return not holds_model(folder)
    return False


def _without_model(folder: Path) -> str:
    return f"{folder} holds no model; it will be served when it does"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _instead_of_a_file(written: str) -> str:
    folder = _above(written)
    if is_number(os.path.basename(folder)):
        return f"write {_above(folder)}, the folder of the numbered version folders"
    return "write the model's folder, which has a numbered folder for each version"


def _instead_of_a_version(path: Path, written: str) -> str:
    if is_number(path.name):
        return (
            f"{path} is the folder of one version; write {_above(written)}, and versions: [{{version: "
            f"{int(path.name)}}}] for this version alone"
        )
    return f"{path} has a model's files itself; put them into a numbered folder of it, such as {path / '1'}"


def _above(written: str) -> str:
    """The folder that a path lies in, written as the path is."""
    return os.path.dirname(written.rstrip("/")) or "."
