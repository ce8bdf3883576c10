"""Version folders on disk: which there are, and whether each is complete."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from processor.manifest import VersionPolicy
from processor.manifest.paths import numbered_folders, remote_problem

_SHARD = re.compile(r"(?P<stem>.*\.data-)\d{5}-of-(?P<count>\d{5})$")
_RSYNC_TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9]{6}$")
_PARTIAL_SUFFIXES = (".tmp", ".part", ".partial", ".crdownload", ".swp")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFolder:
    """A numbered folder. `fingerprint` changes with any file in it; `waiting_for` says why it is not complete."""

    version: int
    path: Path
    fingerprint: str
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """What is under a model's path. `problem` says why nothing can be served from it, `duplicates` which folders are
    not because of their numbers."""

    versions: tuple[VersionFolder, ...] = ()
    problem: str | None = None
    duplicates: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        return self.duplicates if self.problem is None else (self.problem,)


class FolderWatch:
    """Looks at one model's path again and again, and remembers since when each folder has stood still.

    A folder is complete when nothing in it has changed for `settle_s`, by the change times of its files (which a copy
    that preserves times cannot set) or as seen here, and no piece is missing that its other files promise.

    Thread safety: none; one look at a time."""

    def __init__(
        self, path: Path, settle_s: float, wall_s: Callable[[], float], monotonic_s: Callable[[], float]
    ) -> None:
        self._path = path
        self._settle_s = settle_s
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._seen: dict[tuple[int, str], float] = {}

    def look(self, policy: VersionPolicy) -> ModelFolder:
        """The folders that `policy` may choose from: for the latest n, down to the n-th complete one."""
        try:
            numbered, duplicates = numbered_folders(self._path)
        except FileNotFoundError:
            return ModelFolder(problem=remote_problem(self._path) or f"{self._path} does not exist")
        except NotADirectoryError:
            return ModelFolder(problem=f"{self._path} is not a folder")
        except OSError as error:
            return ModelFolder(problem=f"{self._path} cannot be read: {error.strerror}")
        if not numbered:
            return ModelFolder(problem=f"{self._path} has no version folder: expected one named by a number, such as 1")
        if policy.kind == "listed":
            listed = {entry.version for entry in policy.listed}
            numbered = {version: path for version, path in numbered.items() if version in listed}
        folders: list[VersionFolder] = []
        for version in sorted(numbered, reverse=True):
            if policy.kind == "latest" and len([f for f in folders if f.waiting_for is None]) >= policy.latest:
                break
            folders.append(self._look_at(version, numbered[version]))
        return ModelFolder(versions=tuple(folders), duplicates=tuple(duplicates))

    def _look_at(self, version: int, path: Path) -> VersionFolder:
        try:
            files, changed_s = _files(path)
        except OSError as error:
            reason = f"{error.filename or path} cannot be read: {error.strerror}"
            return VersionFolder(version=version, path=path, fingerprint="", waiting_for=reason)
        fingerprint = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
        since_s = self._seen.setdefault((version, fingerprint), self._monotonic_s())
        still_s = max(self._monotonic_s() - since_s, self._wall_s() - changed_s)
        waiting_for = _missing_piece(files)
        if waiting_for is None and still_s < self._settle_s:
            waiting_for = "still being written"
        return VersionFolder(version=version, path=path, fingerprint=fingerprint, waiting_for=waiting_for)


def _files(path: Path) -> tuple[dict[str, tuple[int, int, int]], float]:
    """Each file's (size, modification ns, inode) by its relative name, and when the newest change of any was."""
    files: dict[str, tuple[int, int, int]] = {}
    changed_s = path.stat().st_ctime

    def refuse(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(path, onerror=refuse):
        changed_s = max(changed_s, os.stat(folder).st_ctime)
        for name in names:
            file = Path(folder, name)
            stat = file.stat()
            files[str(file.relative_to(path))] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
            changed_s = max(changed_s, stat.st_ctime)
    return files, changed_s


def _missing_piece(files: Mapping[str, tuple[int, int, int]]) -> str | None:
    """What the files that are there promise and is not there."""
    if not files:
        return "the folder is empty"
    for name in sorted(files):
        base = os.path.basename(name)
        if base.endswith(_PARTIAL_SUFFIXES) or _RSYNC_TEMPORARY.match(base):
            return f"{name} is a partial copy"
        shard = _SHARD.match(name)
        if shard:
            count = int(shard["count"])
            pieces = [f"{shard['stem']}{index:05}-of-{count:05}" for index in range(count)]
            absent = next((piece for piece in pieces if piece not in files), None)
            if absent is not None:
                return f"{absent} is missing"
    if "variables/variables.index" in files and not any(name.startswith("variables/variables.data-") for name in files):
        return "variables/variables.data-* is missing"
    if any(name.startswith("variables/variables.data-") for name in files) and "variables/variables.index" not in files:
        return "variables/variables.index is missing"
    return None
