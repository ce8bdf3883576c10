"""What the server takes of the machine, and its looks at files and processes."""

import contextlib
from pathlib import Path

import psutil


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file does; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 if it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def memory_bytes(pid: int) -> int | None:
    """Resident memory of a process, None if it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        return int(psutil.Process(pid).memory_info().rss)
    return None
