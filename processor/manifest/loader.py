"""From a manifest's file or text to a Manifest, or to all problems that it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from corelane.processor.errors import ManifestError, ManifestProblem
from corelane.processor.loading.model_files import real_path
from corelane.processor.manifest import conflicts, faults, schema
from corelane.processor.manifest.settings import HostSettings, Manifest, ModelSettings
from corelane.processor.manifest.text.files import read_text
from corelane.processor.manifest.text.source import Source
from corelane.processor.manifest.text.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a text says. `manifest` is None where there are problems; `models`, by their place in the list, are those
    that are valid on their own."""

    tree: Tree
    problems: tuple[ManifestProblem, ...]
    manifest: Manifest | None
    models: dict[int, ModelSettings]


def load_manifest(path: Path) -> Manifest:
    """The manifest in a file. ManifestError has a line for each problem."""
    return _manifest_of(read_manifest(path))


def parse_manifest(text: str, *, source: str, base: Path) -> Manifest:
    """The manifest in `text`; relative paths are relative to `base`, problems are named `source:line:column`."""
    return _manifest_of(_reading(Source(source, text), text, base))


def read_manifest(path: Path) -> Reading:
    """What a file says, with all its problems. ManifestError if nothing of it can be read."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        sentence = f"is not UTF-8 text: byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        raise ManifestError([ManifestProblem(source=str(path), sentence=sentence)]) from error
    except (OSError, ValueError) as error:
        sentence = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ManifestError([ManifestProblem(source=str(path), sentence=sentence)]) from error
    return _reading(Source(str(path), text), text, real_path(path).parent)


def _manifest_of(reading: Reading) -> Manifest:
    if reading.manifest is None:
        raise ManifestError(reading.problems)
    return reading.manifest


def _reading(source: Source, text: str, base: Path) -> Reading:
    tree = Tree(source, text)
    document = tree.root
    if not isinstance(document, dict):
        raise ManifestError([tree.problem((), "should be a mapping with models, listen and host")])
    problems = list(tree.problems)
    if "models" not in document:
        problems.append(tree.problem((), "models is missing: list the models to serve ([] for none)"))
    validated = None
    try:
        validated = schema.Document.model_validate(document)
    except ValidationError as error:
        reported = {(problem.line, problem.column) for problem in tree.problems}
        explained = [_explained(item, tree) for item in error.errors()]
        problems += [problem for problem in explained if (problem.line, problem.column) not in reported]
    problems += conflicts.problems(tree)
    if problems or validated is None:
        models = document.get("models")
        return Reading(
            tree=tree,
            problems=tuple(sorted(set(problems), key=_order)),
            manifest=None,
            models=_valid_models(models if isinstance(models, list) else [], base),
        )
    manifest = Manifest(
        listen=validated.listen.to_settings(base),
        host=HostSettings(**validated.host.model_dump()),
        models=tuple(schema.to_model_settings(model, base) for model in validated.models),
    )
    return Reading(tree=tree, problems=(), manifest=manifest, models=dict(enumerate(manifest.models)))


def _valid_models(entries: list[Any], base: Path) -> dict[int, ModelSettings]:
    valid = {}
    for index, entry in enumerate(entries):
        try:
            valid[index] = schema.to_model_settings(schema.Model.model_validate(entry), base)
        except ValidationError:
            continue
    return valid


def _explained(item: Any, tree: Tree) -> ManifestProblem:
    location = tuple(item["loc"])
    unknown = item["type"] == "extra_forbidden"
    return tree.problem(location, faults.sentence(item, schema.known_keys(location) if unknown else []), at_key=unknown)


def _order(problem: ManifestProblem) -> tuple[int, int, str]:
    return problem.line or 0, problem.column or 0, str(problem)
