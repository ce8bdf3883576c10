"""Promote, roll back, split: changes of who gets a model's calls, while it serves."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from processor.errors import ControlError
from processor.manifest import ModelSettings
from processor.manifest.traffic import promoted, split
from processor.manifest.writer import write_versions
from processor.supervisor import runtime
from processor.supervisor.watching import FileMark

if TYPE_CHECKING:
    from processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger("corelane")

_KEPT = 20


class Traffic:
    """Belongs to the event loop's thread."""

    def __init__(self, manifest_path: Path | None) -> None:
        self._manifest_path = manifest_path
        self._own_mark: FileMark = None
        self._before: dict[str, deque[ModelSettings]] = {}

    def own_mark(self) -> FileMark:
        """Of the manifest's file as it was last written here: that change is applied already, and what else was applied
        since the file was read must not be undone by it."""
        return self._own_mark

    def promote(self, supervisor: Supervisor, name: str, version: int) -> list[str]:
        """All calls to one version. Returns sentences: what is now, and what to do where the file was not written."""
        model = _model(supervisor, name)
        after = promoted(model, version)
        if not supervisor.workers.is_routed(name, version):
            raise ControlError(f"version {version} of model {name} is not available; `corelane status` says why")
        return self._change(supervisor, model, after, f"version {version} of model {name} gets all calls")

    def split(self, supervisor: Supervisor, name: str, percentages: Mapping[int, float]) -> list[str]:
        """Calls by percentage."""
        model = _model(supervisor, name)
        after = split(model, percentages)
        for version, share in percentages.items():
            if share > 0 and not supervisor.workers.is_routed(name, version):
                raise ControlError(f"version {version} of model {name} is not available; `corelane status` says why")
        shares = ", ".join(f"version {version} {share:g} %" for version, share in sorted(percentages.items()))
        return self._change(supervisor, model, after, f"calls of model {name}: {shares}")

    def roll_back(self, supervisor: Supervisor, name: str) -> list[str]:
        """As it was before the last change."""
        model = _model(supervisor, name)
        before = self._before.get(name)
        if not before:
            raise ControlError(f"nothing was promoted or split of model {name} since the server started")
        wanted = before[-1]
        versions = {entry.version for entry in model.versions.listed}
        if {entry.version for entry in wanted.versions.listed} != versions:
            raise ControlError(f"the list of versions of model {name} has changed since; change its traffic instead")
        before.pop()
        return self._put(
            supervisor,
            dataclasses.replace(model, versions=wanted.versions, labels=wanted.labels),
            f"calls of model {name} go where they went before",
        )

    def _change(self, supervisor: Supervisor, model: ModelSettings, after: ModelSettings, said: str) -> list[str]:
        self._before.setdefault(model.name, deque(maxlen=_KEPT)).append(model)
        return self._put(supervisor, after, said)

    def _put(self, supervisor: Supervisor, after: ModelSettings, said: str) -> list[str]:
        _logger.info("%s", said)
        supervisor.change_model(after)
        supervisor.scheduling.note(said)
        if self._manifest_path is None:
            return [said]
        try:
            write_versions(self._manifest_path, after)
            self._own_mark = runtime.file_mark(self._manifest_path)
        except (OSError, ValueError) as error:
            warning = f"the manifest was not written, so this holds until it changes or the server restarts: {error}"
            _logger.warning("%s", warning)
            return [said, warning]
        return [said, f"written to {self._manifest_path}"]


def _model(supervisor: Supervisor, name: str) -> ModelSettings:
    model = supervisor.manifest.model(name)
    if model is None:
        raise ControlError(f"model {name} is not in the manifest")
    return model
