"""A manifest's file, and the folders that it names: all problems and warnings, each with its place."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corelane.processor.errors import ManifestProblem
from corelane.processor.manifest import advice
from corelane.processor.manifest.loader import Reading, read_manifest
from corelane.processor.manifest.settings import ListenSettings
from corelane.processor.manifest.text.tree import Location

_NO_MODELS = "the manifest lists no models: nothing is served until some are applied or loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """`models`: how many a valid manifest has."""

    problems: tuple[ManifestProblem, ...] = ()
    warnings: tuple[ManifestProblem, ...] = ()
    models: int = 0


def examine(path: Path) -> Examination:
    """ManifestError if nothing of the file can be read."""
    reading = read_manifest(path)
    problems, warnings = list(reading.problems), []
    for index, model in reading.models.items():
        written = str(reading.tree.value(("models", index, "path")))
        for finding in advice.findings(model, written):
            location = ("models", index, *finding.location)
            if finding.is_fault:
                problems.append(reading.tree.problem(location, finding.sentence))
            else:
                warnings.append(reading.tree.problem(location, advice.told(model, finding)))
    if reading.manifest is not None:
        warnings += _missing_files(reading, reading.manifest.listen)
        if not reading.manifest.models:
            warnings.append(reading.tree.problem(("models",), _NO_MODELS))
    return Examination(
        problems=tuple(sorted(problems, key=_order)),
        warnings=tuple(sorted(warnings, key=_order)),
        models=len(reading.models),
    )


def _missing_files(reading: Reading, listen: ListenSettings) -> Iterator[ManifestProblem]:
    """The files of keys and certificates that are not there yet."""
    files: dict[Location, Path | None] = {}
    if tls := listen.tls:
        files |= {("listen", "tls", name): getattr(tls, name) for name in ("certificate", "key", "client_ca")}
    if auth := listen.auth:
        files["listen", "auth", "api_keys"] = auth.api_keys
        files["listen", "auth", "jwt", "key"] = auth.jwt.key if auth.jwt else None
    for location, path in files.items():
        if path is not None and not os.path.isfile(path):
            yield reading.tree.problem(location, f"{path} is not there; no call is taken without it")


def _order(problem: ManifestProblem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0
