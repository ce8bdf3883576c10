"""A cache of what takes long to make (models, programs), by the content of all that goes into it."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


def digest(files: Iterable[Path], words: Iterable[str]) -> str:
    """Of the files' names and contents, and of the words: versions of tools, flags."""
    total = hashlib.sha256(repr(sorted(words)).encode())
    for file in sorted(files):
        total.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:32]


def fill(target: Path, name: str, key: str, make: Callable[[Path], object], cache: Path | None) -> None:
    """Makes the folder `target` and fills it by `make`, or with a copy of what an earlier `make` of this name and key
    left. The cache has one key for a name; without a cache, every call makes."""
    if cache is None:
        target.mkdir()
        make(target)
        return
    folder = cache / name / key
    if not folder.is_dir():
        unfinished = cache / name / f"{key}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        for other in folder.parent.iterdir():
            if not other.name.startswith(key):
                shutil.rmtree(other, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was quicker
            unfinished.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(folder, target)
