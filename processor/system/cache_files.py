"""Files that Corelane keeps for itself: written whole or not at all, and known again by their checksums.

The checksum is CRC-32C, by the library that TFRecord files need anyway: a core reads and checks about 3 GiB/s, more
than most disks.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from corelane.processor.knobs import CACHE

MAKING = "making"  # in the cache: folders of processes that make something
_CHUNK_BYTES = 4 << 20
# A folder is locked a moment after it is made.
_SWEPT_AFTER_S = 60.0


def checksum(path: Path, pause_s: float = 0.0) -> int:
    """CRC-32C of a file's bytes. It pauses after every 4 MiB, if told to."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = google_crc32c.extend(crc, chunk)
            if pause_s:
                time.sleep(pause_s)
    return int(crc)


def to_checked(value: Any) -> bytes:
    """JSON on one line, and its checksum on the next."""
    text = json.dumps(value).encode()
    return text + b"\n%08x\n" % google_crc32c.value(text)


def from_checked(data: bytes) -> Any:
    """ValueError unless the bytes are whole."""
    text, _, check = data.removesuffix(b"\n").rpartition(b"\n")
    if not text or check != b"%08x" % google_crc32c.value(text):
        raise ValueError("it is cut or damaged")
    return json.loads(text)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A reader sees the file as it was or as it is to be, even after a loss of power. OSError leaves it as it was."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Has a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder of one's own in `parent`, gone at the end. One that a killed process left goes when the next is made:
    each is locked by who made it."""
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    path = Path(tempfile.mkdtemp(dir=parent))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # without locks nothing is swept
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    for path in parent.iterdir():
        with contextlib.suppress(OSError):  # another process may do the same
            if time.time() - path.lstat().st_mtime < _SWEPT_AFTER_S:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def not_kept(subject: str, folder: Path, error: OSError, variable: str = CACHE) -> str:
    """A sentence: what cannot be kept, why, and which variable to set."""
    reason = error.strerror or error
    return f"{subject} cannot be kept in {folder}: {reason}; set {variable} to a folder that can be written"


def why_unwritable(folder: Path) -> str:
    """Why nothing can be kept in the cache, and what mends it; empty if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 12))
            file.flush()
    except OSError as error:
        return not_kept("plans and profiles", folder, error)
    return ""
