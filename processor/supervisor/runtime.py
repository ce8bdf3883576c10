"""What the server takes of the machine: a folder for its sockets, descriptors; and looks at files and processes."""

import contextlib
import os
import resource
import shutil
import tempfile
from pathlib import Path

import psutil

from processor.errors import StartError


def make_runtime_folder() -> Path:
    """A private folder for this server's sockets; those of servers that were killed are removed."""
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    for old in parent.glob("corelane-*-*"):
        owner = old.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    try:
        return Path(tempfile.mkdtemp(prefix=f"corelane-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise StartError(f"cannot make a folder for sockets in {parent}: {error.strerror}") from error


def raise_descriptor_limit() -> None:
    """A request in flight is a descriptor in its gateway and its worker; children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file does; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def memory_bytes(pid: int) -> int | None:
    """Resident memory of a process, None if it has ended."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None
