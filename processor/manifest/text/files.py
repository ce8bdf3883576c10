"""Reading a manifest's file: of a bounded size, and never one that makes its reader wait."""

import os
import stat
from pathlib import Path

BYTES_MAX = 4 << 20


def read_text(path: Path) -> str:
    """The text of a file. OSError if it cannot be read, is no regular file (a pipe would be waited for) or is larger
    than BYTES_MAX; UnicodeDecodeError if it is no UTF-8."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise OSError(0, f"it is larger than {BYTES_MAX >> 20} MiB")
    return data.decode()
