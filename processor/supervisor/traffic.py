"""Promote, roll back, split: changes of who gets a model's calls, while it serves."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from processor.errors import ControlError, ManifestError
from processor.manifest import ModelSettings, load_manifest
from processor.manifest.traffic import promoted, split
from processor.manifest.writer import Turn, write_versions
from processor.percentages import percent
from processor.supervisor import runtime, tasks
from processor.supervisor.watching import FileMark

if TYPE_CHECKING:
    from processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger("corelane")

_KEPT = 20
DISK_S = 10.0  # how long the manifest's file system may take to answer


class Traffic:
    """Belongs to the event loop's thread; whoever calls holds the supervisor's `changing`."""

    def __init__(self, manifest_path: Path | None) -> None:
        self._manifest_path = manifest_path
        self._own_mark: FileMark = None
        self._before: dict[str, deque[ModelSettings]] = {}
        self._unwritten: set[str] = set()  # models whose arms are not what the file says, for it could not be written

    def own_mark(self) -> FileMark:
        """Of the manifest's file as it was last written here: that change is applied already, and what else was applied
        since the file was read must not be undone by it."""
        return self._own_mark

    async def promote(self, supervisor: Supervisor, name: str, version: int) -> list[str]:
        """All calls to one version. Returns sentences: what is now, and what to do where the file was not written.
        ControlError, and nothing has changed, if that cannot be."""
        model = _model(supervisor, name)
        after = promoted(model, version)
        if not supervisor.workers.is_routed(name, version):
            raise ControlError(f"version {version} of model {name} is not available; `corelane status` says why")
        return await self._change(supervisor, model, after, f"version {version} of model {name} gets all calls")

    async def split(self, supervisor: Supervisor, name: str, percentages: Mapping[int, float]) -> list[str]:
        """Calls by percentage; as `promote`."""
        model = _model(supervisor, name)
        after = split(model, percentages)
        for version, share in percentages.items():
            if share > 0 and not supervisor.workers.is_routed(name, version):
                raise ControlError(f"version {version} of model {name} is not available; `corelane status` says why")
        shares = ", ".join(f"version {version} {percent(share)} %" for version, share in sorted(percentages.items()))
        return await self._change(supervisor, model, after, f"calls of model {name}: {shares}")

    async def roll_back(self, supervisor: Supervisor, name: str) -> list[str]:
        """As it was before the last change; as `promote`."""
        model = _model(supervisor, name)
        before = self._before.get(name)
        if not before:
            raise ControlError(f"nothing was promoted or split of model {name} since the server started")
        target = before[-1]
        versions = {entry.version for entry in model.versions.listed}
        if {entry.version for entry in target.versions.listed} != versions:
            raise ControlError(f"the list of versions of model {name} has changed since; change its traffic instead")
        after = dataclasses.replace(model, versions=target.versions, labels=target.labels)
        said = await self._put(supervisor, model, after, f"calls of model {name} go where they went before")
        before.pop()
        return said

    async def _change(self, supervisor: Supervisor, model: ModelSettings, after: ModelSettings, said: str) -> list[str]:
        sentences = await self._put(supervisor, model, after, said)
        self._before.setdefault(model.name, deque(maxlen=_KEPT)).append(model)
        return sentences

    async def _put(self, supervisor: Supervisor, before: ModelSettings, after: ModelSettings, said: str) -> list[str]:
        """The file first: what it does not allow is not done."""
        sentences = [said]
        if self._manifest_path is not None:
            path, turn = self._manifest_path, Turn()
            write = functools.partial(self._write, path, before, after, turn)
            try:
                sentences.append(await tasks.on_daemon_thread(write, "manifest", DISK_S))
            except TimeoutError:
                now = "nothing has changed" if turn.take() else "it may still be written; look before you go on"
                raise ControlError(f"the file system of {path} did not answer within {DISK_S:g} s; {now}") from None
        _logger.info("%s", said)
        supervisor.change_model(after)
        supervisor.scheduling.note(said)
        return sentences

    def _write(self, path: Path, before: ModelSettings, after: ModelSettings, turn: Turn) -> str:
        """On a thread. Says what was written, or why not; ControlError if the file is not as it was applied."""
        on_disk = None
        try:
            if path.exists():
                on_disk = load_manifest(path).model(before.name)
        except ManifestError as error:
            raise ControlError(
                f"the manifest on disk is not valid; nothing has changed, mend it first: {error}"
            ) from None
        if on_disk is not None and before.name not in self._unwritten and _arms(on_disk) != _arms(before):
            raise ControlError(
                f"{path} has other versions of model {before.name} than are served; nothing is done, apply it first"
            )
        try:
            if not write_versions(path, after, turn):
                return ""  # nobody waits any longer
            self._own_mark = runtime.file_mark(path)
        except (OSError, ValueError) as error:
            self._unwritten.add(before.name)
            warning = f"the manifest was not written, so this holds until it changes or the server restarts: {error}"
            _logger.warning("%s", warning)
            return warning
        self._unwritten.discard(before.name)
        return f"written to {path}"


def _arms(model: ModelSettings) -> tuple[object, ...]:
    return model.versions, model.labels


def _model(supervisor: Supervisor, name: str) -> ModelSettings:
    model = supervisor.manifest.model(name)
    if model is None:
        raise ControlError(f"model {name} is not in the manifest")
    return model
