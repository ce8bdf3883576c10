"""The files of request logs: their names, and which of them belong to a model.

`MODEL-PID-TIME.tfrecord`, with `.partial` behind it while a gateway writes it. Several models, and gateways of several
hosts, may share a folder.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from corelane.processor.wire import records

PARTIAL = ".partial"
FILE_S = 600.0  # a file is ended after so long
_NAME = re.compile(r"(?P<model>.+)-\d+-\d{8}T\d{6}-\d{9}\.tfrecord(?P<partial>\.partial)?")
_MODEL_MAX = 150  # characters; a file's name has 255 bytes


def new_path(folder: Path, model: str) -> Path:
    """Of a file that this process begins now, as it is called when it has ended."""
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.monotonic_ns() % 10**9:09d}"
    return folder / f"{_encoded(model)}-{os.getpid()}-{stamp}.tfrecord"


def trim(folder: Path, model: str, bytes_max: int) -> None:
    """Removes a model's oldest ended files until the rest takes no more than is allowed."""
    files = []
    for path in _files(folder, model, partial=False):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            files.append((stat.st_mtime_ns, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= bytes_max:
            return
        path.unlink(missing_ok=True)
        total -= size


def end_abandoned(folder: Path, model: str) -> None:
    """Ends the files that a gateway which was killed left behind, with the records that are whole."""
    for path in _files(folder, model, partial=True):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime < 2 * FILE_S:
                continue  # somebody may write it
            os.truncate(path, records.whole_bytes(path))
            if path.stat().st_size:
                path.rename(path.with_name(path.name.removesuffix(PARTIAL)))
            else:
                path.unlink()


def _files(folder: Path, model: str, *, partial: bool) -> Iterator[Path]:
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and match["model"] == _encoded(model) and bool(match["partial"]) == partial:
            yield path


def _encoded(model: str) -> str:
    """The name as part of a file's: no two models share one."""
    text = quote(model, safe=" ")
    if len(text) <= _MODEL_MAX:
        return text
    return f"{text[:_MODEL_MAX]}~{hashlib.sha256(model.encode()).hexdigest()[:16]}"
