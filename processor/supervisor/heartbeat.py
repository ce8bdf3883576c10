"""Whether a process still answers, and whether a worker takes the requests that wait for it: counts of looks."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

_BUSY_S = 0.05
# A run may hold Python's lock for long, and then nothing answers that needs it.
_BUSY_FACTOR = 10


class Verdict(Enum):
    ASK = "ask"
    WAIT = "wait"
    DEAD = "dead"


class Heartbeat:
    """Counts looks, not time: after a host slept, or we were stopped, whoever is asked has as many looks to answer as
    ever.

    A process that does not answer but computes has ten times as many looks: it is busy; a stopped one uses no CPU."""

    def __init__(self) -> None:
        self._asked = False
        self._missed = 0
        self._cpu_s = 0.0

    def answered(self) -> None:
        self._asked = False

    def look(self, looks_max: int, cpu_s: Callable[[], float]) -> Verdict:
        """What to do now. `cpu_s` reads the CPU time that the process has used."""
        if not self._asked:
            self._asked, self._missed = True, 0
            return Verdict.ASK
        if self._missed == 0:
            self._cpu_s = cpu_s()
        self._missed += 1
        if self._missed < looks_max:
            return Verdict.WAIT
        computes = cpu_s() - self._cpu_s > _BUSY_S
        return Verdict.WAIT if computes and self._missed < _BUSY_FACTOR * looks_max else Verdict.DEAD


class Progress:
    """Of a worker's sessions, by its channel."""

    def __init__(self) -> None:
        self._accepted = 0
        self._taken = 0
        self._idle = 0

    def look(self, statistics: Mapping[str, Any], waits_its_turn: bool) -> int:
        """How many looks in a row found requests, no session that ran one, and none taken since the look before."""
        accepted, taken = statistics["accepted"], sum(statistics["queue_us"])
        waits = statistics["queued"] > 0 or accepted > self._accepted
        stands = waits and statistics["running"] == 0 and taken == self._taken and not waits_its_turn
        self._accepted, self._taken = accepted, taken
        self._idle = self._idle + 1 if stands else 0
        return self._idle
