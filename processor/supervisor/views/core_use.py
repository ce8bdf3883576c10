"""How busy the host's hardware threads are, whoever uses them."""

from collections.abc import Collection
from pathlib import Path

_IDLE = slice(3, 5)  # idle, and waiting for a disk: columns of /proc/stat, which counts them in ticks
_COLUMNS = 8  # what follows them is counted among them, too


class CoreUse:
    """Of the time between the last two looks. Belongs to the event loop's thread; the kernel's file keeps nobody
    waiting."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        self._path = path
        self._before: dict[int, tuple[int, int]] = {}
        self.busy: dict[int, float] = {}  # by hardware thread, from 0 to 1; those that are known

    def look(self, cpus: Collection[int]) -> None:
        """Reads these; none of what cannot be read is known."""
        try:
            now = _ticks(self._path.read_text())
        except (OSError, ValueError):
            now = {}
        now = {cpu: ticks for cpu, ticks in now.items() if cpu in cpus}
        self.busy = {}
        for cpu, (idle, total) in now.items():
            idle_before, total_before = self._before.get(cpu, (0, 0))
            if cpu in self._before and total > total_before:
                share = 1 - (idle - idle_before) / (total - total_before)
                self.busy[cpu] = min(1.0, max(0.0, share))  # the kernel's idle time may step back
        self._before = now


def _ticks(text: str) -> dict[int, tuple[int, int]]:
    """Idle and all ticks of each hardware thread."""
    ticks = {}
    for line in text.splitlines():
        name, *columns = line.split()
        if name.startswith("cpu") and name != "cpu":
            numbers = [int(column) for column in columns[:_COLUMNS]]
            ticks[int(name[3:])] = (sum(numbers[_IDLE]), sum(numbers))
    return ticks
