"""Version folders on disk: which there are, and whether each is complete."""

import errno
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from corelane.processor.manifest import VersionPolicy
from corelane.processor.manifest.paths import numbered_folders, remote_problem
from corelane.processor.supervisor.files.fingerprints import Fingerprints, FolderLook

_SHARD = re.compile(r"(?P<stem>.*\.data-)\d{5}-of-(?P<count>\d{5})$")
_RSYNC_TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9]{6}$")
_PARTIAL_SUFFIXES = (".tmp", ".part", ".partial", ".crdownload", ".swp")

# What looks unfinished and stands still for so long is as it will be: this, or some times what any folder must.
_DOUBT_S = 30.0
_DOUBT_SETTLES = 5

# Ops that a graph has only if values lie beside it, as a node names its op in binary and in text.
_OPS_WITH_VALUES = ("RestoreV2", "VarHandleOp", "VariableV2", "Variable")
_OP_MARKS = tuple(
    mark for op in _OPS_WITH_VALUES for mark in (bytes([0x12, len(op)]) + op.encode(), f'op: "{op}"'.encode())
)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFolder:
    """A numbered folder. `fingerprint` changes with what its files hold. `waiting_for` says why it is not complete;
    `is_stalled`: and nothing has changed for so long that nobody may be copying any more. `doubt`: it is taken as
    complete although it does not look so, in words."""

    version: int
    path: Path
    fingerprint: str
    waiting_for: str | None = None
    is_stalled: bool = False
    doubt: str = ""

    @property
    def is_coming(self) -> bool:
        """Whether its files may be on their way."""
        return self.waiting_for is not None and not self.is_stalled


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """What is under a model's path. `problem` says why nothing can be served from it, `duplicates` which folders are
    not because of their numbers."""

    versions: tuple[VersionFolder, ...] = ()
    problem: str | None = None
    duplicates: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        if self.problem is not None:
            return (*self.duplicates, self.problem)
        return (*self.duplicates, *(folder.doubt for folder in self.versions if folder.doubt))


class FolderWatch:
    """Looks at one model's path again and again, and remembers since when each folder has stood still.

    A folder is complete when nothing in it has changed for `settle_s` as seen here and no piece is missing that its
    other files promise. What was there before the first look may be complete at once, by the change times of its
    files (which a copy that preserves times cannot set); later, only what was seen counts, since a mount may make
    times up. A doubt ends: files that are named like parts of a copy, or a graph with variables and no file of them,
    hold a folder up until nothing in it has changed for 30 s, or five times `settle_s` if that is longer.

    Thread safety: none; one look at a time."""

    def __init__(
        self,
        path: Path,
        settle_s: float,
        wall_s: Callable[[], float],
        monotonic_s: Callable[[], float],
        stat: Callable[[Path], os.stat_result] = os.stat,
    ) -> None:
        self._path = path
        self._settle_s = settle_s
        self._doubt_s = max(_DOUBT_S, _DOUBT_SETTLES * settle_s)
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._stat = stat
        self._there_before: set[int] | None = None  # the numbers at the first look, of folders not looked into yet
        self._fingerprints: dict[int, Fingerprints] = {}
        self._since: dict[int, tuple[str, float]] = {}
        self._lacks_values: dict[int, tuple[str, bool]] = {}

    def look(self, policy: VersionPolicy, libraries: Sequence[Path] = ()) -> ModelFolder:
        """The folders that `policy` may choose from: for the latest n, down to the n-th that is surely complete.
        What the `libraries` hold that versions are loaded with counts as what each version holds.
        OSError if this process lacks what it takes to look."""
        before, self._there_before = self._there_before, set()
        try:
            numbered, duplicates = numbered_folders(self._path)
        except FileNotFoundError:
            return ModelFolder(problem=remote_problem(self._path) or f"{self._path} does not exist")
        except NotADirectoryError:
            return ModelFolder(problem=f"{self._path} is not a folder")
        except OSError as error:
            _raise_if_ours(error)
            return ModelFolder(problem=f"{self._path} cannot be read: {error.strerror}")
        if not numbered:
            problem = f"{self._path} has no version folder: expected one named by a number, such as 1"
            return ModelFolder(problem=problem, duplicates=tuple(duplicates))
        self._there_before = set(numbered) if before is None else before & numbered.keys()
        self._forget(numbered)
        if policy.kind == "listed":
            listed = {entry.version for entry in policy.listed}
            numbered = {version: path for version, path in numbered.items() if version in listed}
        folders: list[VersionFolder] = []
        for version in sorted(numbered, reverse=True):
            sure = sum(folder.waiting_for is None and not folder.doubt for folder in folders)
            if policy.kind == "latest" and sure >= policy.latest:
                break
            is_first = version in self._there_before
            self._there_before.discard(version)
            folders.append(self._look_at(version, numbered[version], libraries, is_first))
        return ModelFolder(versions=tuple(folders), duplicates=tuple(duplicates))

    def _forget(self, numbered: Collection[int]) -> None:
        for known in (self._fingerprints, self._since, self._lacks_values):
            for version in known.keys() - numbered:
                del known[version]

    def _look_at(self, version: int, path: Path, libraries: Sequence[Path], is_first: bool) -> VersionFolder:
        fingerprints = self._fingerprints.setdefault(version, Fingerprints(self._monotonic_s, self._stat))
        try:
            look = fingerprints.look(path, libraries)
            lacks_values = self._lacks_values_of(version, path, look)
        except Exception as error:  # of any kind, it is this version's trouble and no other's
            reason = f"{path} cannot be looked at: {error}"
            if isinstance(error, OSError):
                _raise_if_ours(error)
                reason = f"{error.filename or path} cannot be read: {error.strerror}"
            still_s = self._still_s(version, reason)
            return VersionFolder(
                version=version, path=path, fingerprint="", waiting_for=reason, is_stalled=still_s >= self._doubt_s
            )
        still_s = self._still_s(version, look.fingerprint)
        if is_first:
            still_s = max(still_s, self._wall_s() - look.changed_s)
            self._since[version] = (look.fingerprint, self._monotonic_s() - still_s)  # later looks count on from there
        missing = _missing_piece(look.sizes)
        doubt = _partial_copy(look.sizes)
        if doubt is None and lacks_values:
            doubt = "variables/ is missing: saved_model.pb has variables"
        waiting_for = missing
        if waiting_for is None and still_s < self._doubt_s:
            waiting_for = doubt
        if waiting_for is None and still_s < self._settle_s:
            waiting_for = "still being written"
        told = ""
        if waiting_for is None and doubt is not None:
            told = f"{path}: {doubt}; nothing has changed for {self._doubt_s:g} s, so it is loaded as it is"
        return VersionFolder(
            version=version,
            path=path,
            fingerprint=look.fingerprint,
            waiting_for=waiting_for,
            is_stalled=waiting_for is not None and still_s >= self._doubt_s,
            doubt=told,
        )

    def _still_s(self, version: int, seen: str) -> float:
        """For how long a version has been seen as it is."""
        now_s = self._monotonic_s()
        if self._since.get(version, ("", 0.0))[0] != seen:
            self._since[version] = (seen, now_s)
        return now_s - self._since[version][1]

    def _lacks_values_of(self, version: int, path: Path, look: FolderLook) -> bool:
        """Whether a SavedModel's graph has variables that no file of its folder has values of. The graph is read again
        only if a file has changed."""
        graph = next((name for name in ("saved_model.pb", "saved_model.pbtxt") if name in look.sizes), None)
        if graph is None or any(name.startswith("variables/") for name in look.sizes):
            return False
        known = self._lacks_values.get(version)
        if known is None or known[0] != look.fingerprint:
            known = self._lacks_values[version] = (look.fingerprint, _has_variables(path / graph))
        return known[1]


def _has_variables(graph: Path) -> bool:
    longest = max(map(len, _OP_MARKS))
    before = b""
    with graph.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            text = before + chunk
            if any(mark in text for mark in _OP_MARKS):
                return True
            before = text[-longest:]
    return False


def _partial_copy(files: Collection[str]) -> str | None:
    """The first file that is named as a copy under way is."""
    for name in sorted(files):
        base = os.path.basename(name)
        if base.endswith(_PARTIAL_SUFFIXES) or _RSYNC_TEMPORARY.fullmatch(base):
            return f"{name} is a partial copy"
    return None


def _raise_if_ours(error: OSError) -> None:
    """What this process lacks for the moment says nothing of a folder."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error


def _missing_piece(files: Collection[str]) -> str | None:
    """What the files that are there promise and is not there."""
    if not files:
        return "the folder is empty"
    for name in sorted(files):
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
