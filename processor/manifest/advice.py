"""What is valid in a manifest and still may surprise."""

import os
from collections.abc import Iterator

from processor.manifest.paths import numbered_folders, remote_problem, rest_problem
from processor.manifest.settings import Manifest, ModelSettings


def warnings(manifest: Manifest) -> list[str]:
    """A sentence for each."""
    return [warning for model in manifest.models for warning in _of(model)]


def name_warnings(models: list[ModelSettings]) -> list[str]:
    """A sentence for each model that REST cannot name."""
    return [
        f"model {model.name!r} cannot be called by REST: {problem}; gRPC can call it"
        for model in models
        if (problem := rest_problem(model.name)) is not None
    ]


def _of(model: ModelSettings) -> Iterator[str]:
    yield from name_warnings([model])
    problem = remote_problem(model.path)
    if problem is not None:
        yield f"model {model.name}: {problem}"
    elif not os.path.isdir(model.path):
        yield f"model {model.name}: {model.path} is not there; it will be served when it is"
    else:
        try:
            _, duplicates = numbered_folders(model.path)
        except OSError as error:
            yield f"model {model.name}: {model.path} cannot be read: {error.strerror}"
        else:
            yield from (f"model {model.name}: {duplicate}" for duplicate in duplicates)
