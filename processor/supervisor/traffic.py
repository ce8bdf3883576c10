"""Promote, roll back, split: changes of who gets a model's calls, while it serves."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from corelane.processor.errors import ControlError, ManifestError
from corelane.processor.manifest import ModelSettings, VersionSettings, load_manifest
from corelane.processor.manifest.changes import label_moves, where_calls_go
from corelane.processor.manifest.text.writer import Turn, write_versions
from corelane.processor.manifest.traffic import promoted, split
from corelane.processor.supervisor import runtime, tasks
from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.files.watching import FileMark
from corelane.processor.supervisor.splits import Split, Splits
from corelane.scheduler.numbers import percent

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger("corelane")
_Result = TypeVar("_Result")

DISK_S = 10.0  # how long a file system may take to answer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody asks for. `preview`: say what would be done, and do nothing."""

    model: str
    by: str = ""
    preview: bool = False


class Traffic:
    """Belongs to the event loop's thread; whoever calls holds the supervisor's `changing`.

    Each change returns sentences: what is now, which labels move, where calls go, and what to do where the manifest
    was not written. It raises ControlError, and nothing has changed, if it cannot be."""

    def __init__(self, manifest_path: Path | None, events: Events, splits: Splits) -> None:
        self._manifest_path = manifest_path
        self._events = events
        self._splits = splits
        self._own_mark: FileMark = None
        self._unwritten: set[str] = set()  # models whose arms are not what the file says, for it could not be written

    def own_mark(self) -> FileMark:
        """Of the manifest's file as it was last written here: that change is applied already, and what else was applied
        since the file was read must not be undone by it."""
        return self._own_mark

    async def promote(self, supervisor: Supervisor, order: Order, version: int) -> list[str]:
        """All calls to one version."""
        model = _model(supervisor, order.model)
        after = promoted(model, version)
        _check_routed(supervisor, model.name, {version: 100.0})
        said = f"version {version} of model {model.name} gets all calls"
        return await self._change(supervisor, order, Kind.PROMOTED, after, said)

    async def split(self, supervisor: Supervisor, order: Order, percentages: Mapping[int, float]) -> list[str]:
        """Calls by percentage."""
        model = _model(supervisor, order.model)
        after = split(model, percentages)
        _check_routed(supervisor, model.name, percentages)
        shares = ", ".join(f"version {version} {percent(share)} %" for version, share in sorted(percentages.items()))
        return await self._change(supervisor, order, Kind.SPLIT, after, f"calls of model {model.name}: {shares}")

    async def roll_back(self, supervisor: Supervisor, order: Order, back: int | None = None) -> list[str]:
        """As it was before the last change, which is forgotten; or as `earlier` lists it, 1 being the newest."""
        model = _model(supervisor, order.model)
        earlier = await self.earlier(order.model)
        if not earlier:
            raise ControlError(f"nothing was promoted or split of model {model.name}")
        if back is not None and not 1 <= back <= len(earlier):
            raise ControlError(f"there are {len(earlier)} earlier splits of model {model.name}, not {back}")
        target = earlier[-(back or 1)]
        after = _restored(model, target.entries)
        shares = {entry.version: entry.traffic or 0.0 for entry in after.versions.listed}
        _check_routed(supervisor, model.name, shares)
        said = f"model {model.name} is rolled back"
        kept = earlier[:-1] if back is None else None
        return await self._change(supervisor, order, Kind.ROLLED_BACK, after, said, kept)

    async def earlier(self, model: str) -> Sequence[Split]:
        """What a model can be rolled back to, the newest last."""
        return await _on_disk(functools.partial(self._splits.of, model), "the folder of earlier splits")

    async def _change(
        self,
        supervisor: Supervisor,
        order: Order,
        kind: Kind,
        after: ModelSettings,
        said: str,
        kept: Sequence[Split] | None = None,
    ) -> list[str]:
        """The file first: what it does not allow is not done. `kept`: the earlier splits from now on, if what was up to
        now is none."""
        before = _model(supervisor, order.model)
        sentences = [said, *label_moves(before, after)]
        goes = where_calls_go(after)
        if goes != said:
            sentences.append(goes)
        if order.preview:
            return sentences
        earlier = await self.earlier(order.model)
        if self._manifest_path is not None:
            path, turn = self._manifest_path, Turn()
            write = functools.partial(self._write, path, before, after, turn)
            sentences.append(await _on_disk(write, str(path), turn))
        text = "; ".join(sentences if self._manifest_path is None else sentences[:-1])
        self._events.note(kind, text, model=order.model, by=order.by)
        supervisor.change_model(after)
        if kept is None:
            now = Split(until_s=time.time(), said=said, by=order.by, entries=before.versions.listed)
            kept = [*earlier, now]
        await _on_disk(functools.partial(self._splits.change, order.model, kept), "the folder of earlier splits")
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


async def _on_disk(work: Callable[[], _Result], what: str, turn: Turn | None = None) -> _Result:
    """What `work` returns. ControlError if the file system does not answer; `turn`: without it nothing is changed."""
    try:
        return await tasks.on_daemon_thread(work, "manifest", DISK_S)
    except TimeoutError:
        unchanged = turn is None or turn.take()
        now = "nothing has changed" if unchanged else "it may still be written; look before you go on"
        raise ControlError(f"the file system of {what} did not answer within {DISK_S:g} s; {now}") from None


def _restored(model: ModelSettings, entries: Sequence[VersionSettings]) -> ModelSettings:
    """The versions that are listed now, as they were then; those that were not there get no calls."""
    now = {entry.version for entry in model.versions.listed}
    then = {entry.version: entry for entry in entries}
    if now - then.keys() and not any(entry.traffic for entry in entries):
        # Then the highest got all; another may be the highest now.
        highest = max((entry.version for entry in entries if entry.shadow is None), default=None)
        then = {
            version: dataclasses.replace(
                entry, traffic=None if entry.shadow is not None else 100.0 if version == highest else 0.0
            )
            for version, entry in then.items()
        }
    gone = [version for version, entry in then.items() if entry.traffic and version not in now]
    if gone:
        raise ControlError(
            f"version {gone[0]} of model {model.name} had calls then, and is not in its list any more; add it, or "
            "change the traffic instead"
        )
    listed = tuple(
        then.get(entry.version, dataclasses.replace(entry, traffic=0.0, label=None, shadow=None))
        for entry in model.versions.listed
    )
    if all(entry.shadow is not None for entry in listed):
        raise ControlError(f"no version of model {model.name} that answered then is in its list any more")
    labels = tuple((entry.label, entry.version) for entry in listed if entry.label is not None)
    return dataclasses.replace(model, versions=dataclasses.replace(model.versions, listed=listed), labels=labels)


def _check_routed(supervisor: Supervisor, model: str, shares: Mapping[int, float]) -> None:
    for version, share in shares.items():
        if share > 0 and not supervisor.workers.is_routed(model, version):
            raise ControlError(f"version {version} of model {model} is not available; `corelane status` says why")


def _arms(model: ModelSettings) -> tuple[object, ...]:
    return model.versions, model.labels


def _model(supervisor: Supervisor, name: str) -> ModelSettings:
    model = supervisor.manifest.model(name)
    if model is None:
        known = [other.name for other in supervisor.manifest.models]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise ControlError(f"model {name} is not in the manifest{f'; did you mean {near[0]}?' if near else ''}")
    return model
