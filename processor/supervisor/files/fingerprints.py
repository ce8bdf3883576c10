"""What the files of a version hold, told cheaply enough to be asked every second."""

import errno
import hashlib
import os
import stat as stats
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corelane.processor.loading.model_files import content_of
from corelane.processor.system.cache_files import checksum

WHOLE_BYTES = 1 << 20  # files up to that are read whole, of larger ones as much
_SAMPLES = 16
_PAUSE_S = 0.004  # after 4 MiB: less than a GiB a second
_VAIN_MAX = 3
_RESTLESS_S = 30.0  # also the time between two reads of a file that changes its times and nothing else
_FORGOTTEN_S = 600.0  # changes of times that lie so far apart have nothing to do with each other

Times = tuple[int, int, int, int]  # modification, change, inode, device


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLook:
    """`sizes` of the files by their relative names; `changed_s` is when anything in the folder changed last, by the
    wall clock of its file system."""

    sizes: dict[str, int]
    fingerprint: str
    changed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What is known of a file. `content` is a digest, of a large file one of samples; `whole` is the checksum of all of
    that, taken once it stands still, and `variant` tells it from one with equal samples. `is_read`: its content, since
    its times changed. `reads_in_vain`: how often that was for nothing; `moves_in_vain`: how often its modification time
    changed for nothing, first and last at `moved_s`."""

    place: str
    size: int
    times: Times
    content: str
    read_s: float
    whole: int | None = None
    variant: str = ""
    is_read: bool = True
    reads_in_vain: int = 0
    moves_in_vain: int = 0
    moved_s: tuple[float, float] = (0.0, 0.0)

    def mark(self, now_s: float) -> tuple[object, ...]:
        restless = self.moves_in_vain >= _VAIN_MAX and now_s - self.moved_s[0] >= _RESTLESS_S
        modified = self.times[0] if self.size > WHOLE_BYTES and not restless else None
        return self.size, self.content, self.variant, modified


class Fingerprints:
    """Of one version's folder, look after look.

    A file is the same as long as its name, its size and its content are: all of it, or of a large file a sample and the
    modification time. A large one that comes with another inode or change time and the modification time that was there
    before (as reproducible builds leave it) is compared whole. Neither inodes nor change times count by themselves,
    which a FUSE or object-store mount may make up anew for each look; they only say when to read again. Where times
    change at every look and content does not, files are read now and then, and a modification time that does not stand
    still no longer counts.

    Thread safety: none, one look at a time."""

    def __init__(self, monotonic_s: Callable[[], float], stat: Callable[[Path], os.stat_result] = os.stat) -> None:
        self._monotonic_s = monotonic_s
        self._stat = stat
        self._files: dict[str, _File] = {}

    def look(self, folder: Path, libraries: Sequence[Path] = ()) -> FolderLook:
        """OSError if a part of the folder, or a library that it is loaded with, cannot be read."""
        content = content_of(folder)
        for name in content.broken:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / name))
        changed_s = max(self._stat(path).st_ctime for path in content.visited)
        files: dict[str, _File] = {}
        for name, path in sorted(content.files.items()):
            found = self._stat(path)
            changed_s = max(changed_s, found.st_ctime)
            files[name] = self._look_at(self._files.get(name), path, str(path.parent), found)
        sizes = {name: file.size for name, file in files.items()}
        for library in libraries:
            found = self._stat(library)
            changed_s = max(changed_s, found.st_ctime)
            files[str(library)] = self._look_at(self._files.get(str(library)), library, str(library.parent), found)
        self._files = files
        now_s = self._monotonic_s()
        marks = [(name, file.mark(now_s)) for name, file in files.items()]
        return FolderLook(
            sizes=sizes,
            fingerprint=hashlib.sha256(repr(marks).encode()).hexdigest()[:16],
            changed_s=changed_s,
        )

    def _look_at(self, known: _File | None, path: Path, place: str, found: os.stat_result) -> _File:
        times = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        now_s = self._monotonic_s()
        fresh = _File(place=place, size=found.st_size, times=times, content="", read_s=now_s)
        if known is None or (known.place, known.size) != (place, found.st_size):
            return replace(fresh, content=_content(path, found))
        is_large = found.st_size > WHOLE_BYTES
        if known.times == times and known.is_read:
            return replace(known, whole=_whole(path)) if is_large and known.whole is None else known
        if known.times[0] != times[0]:
            first_s, last_s = known.moved_s
            goes_on = known.moves_in_vain > 0 and now_s - last_s < _FORGOTTEN_S
            known = replace(
                known,
                moves_in_vain=known.moves_in_vain + 1 if goes_on else 1,
                moved_s=(first_s if goes_on else now_s, now_s),
            )
        if known.reads_in_vain >= _VAIN_MAX and now_s - known.read_s < _RESTLESS_S:
            return replace(known, times=times, is_read=False)
        content = _content(path, found)
        if content != known.content:
            return replace(fresh, content=content)
        if is_large and known.times[0] == times[0] and known.whole is not None and known.reads_in_vain < _VAIN_MAX:
            whole = _whole(path)
            if whole != known.whole:
                return replace(fresh, content=content, whole=whole, variant=f"{whole}")
        return replace(known, times=times, is_read=True, read_s=now_s, reads_in_vain=known.reads_in_vain + 1)


def _whole(path: Path) -> int:
    """The checksum of all of a file; 0 of one that only its reader may read. Slowly, beside what serves."""
    try:
        return checksum(path, pause_s=_PAUSE_S)
    except PermissionError:
        return 0


def _content(path: Path, found: os.stat_result) -> str:
    """A digest of a file, or of a sample of one that is large. Empty for what only its reader may read, and for what is
    no file."""
    if not stats.S_ISREG(found.st_mode):
        return ""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb", buffering=0) as file:
            if found.st_size <= WHOLE_BYTES:
                digest.update(file.readall() or b"")
                return digest.hexdigest()
            part = WHOLE_BYTES // _SAMPLES
            for index in range(_SAMPLES):
                file.seek((found.st_size - part) * index // (_SAMPLES - 1))
                digest.update(file.read(part) or b"")
    except PermissionError:
        return ""
    return digest.hexdigest()
