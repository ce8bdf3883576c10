"""Heartbeats: processes that live, but do not answer, are killed, and so start anew.

A beat passes through what serves: in a gateway through its control thread, its server's loop and the threads of its
calls; in a worker through its control thread, which looks after the sessions. Time is counted in the supervisor's own
ticks: if it was stopped itself, or the whole host was, nobody missed a beat.

A process may have a reason not to answer: native code that runs for long may hold Python's lock. While it computes, or
waits for a processor or a disk, it lives; a worker for as long as that takes, a gateway, whose longest such run is a
parse of JSON, for some time. One that sleeps, or is stopped, does not live."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from corelane.processor.control.messages import Beat
from corelane.processor.supervisor.children.child import Child

_BEATS = 5  # in the time that one may take
_BUSY_SHARE = 0.05  # of a core, from which on a process computes
_STOPPED = frozenset("tT")
_RUNNING = frozenset("RD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A process as the kernel sees it: the states of its threads, the CPU that it has used."""

    states: frozenset[str]
    cpu_s: float

    @property
    def is_stopped(self) -> bool:
        return bool(self.states) and self.states <= _STOPPED


def look_at(pid: int) -> Look:
    """Nothing, if it has ended."""
    states, cpu_s = set(), 0.0
    with contextlib.suppress(OSError, psutil.Error):
        times = psutil.Process(pid).cpu_times()
        cpu_s = times.user + times.system
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                # The name, in parentheses, may hold anything.
                states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return Look(states=frozenset(states), cpu_s=cpu_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """`answers`: it has said that it serves, for which it has `start_s`; before that, only its being stopped is
    noticed. `patience`: how many more times the limit it may take to answer while it computes."""

    child: Child
    answers: bool
    patience: float
    start_s: float = float("inf")


@dataclass(slots=True)
class _Pulse:
    """Ticks that the process was seen, the beat sent last, how often it was spared since, the ticks since it or since
    it was spared, and the CPU used until then."""

    age: int = 0
    sent: int = 0
    spared: int = 0
    ticks: int = 0
    cpu_s: float = 0.0


class Heartbeats:
    """Belongs to the event loop's thread."""

    def __init__(self, limit_s: float, tick_s: float) -> None:
        """A process may take `limit_s` to answer; `tick` is called every `tick_s`."""
        self._limit_s = limit_s
        self._tick_s = tick_s
        self._limit = max(1, round(limit_s / tick_s))
        self._interval = max(1, self._limit // _BEATS)
        self._pulses: dict[Child, _Pulse] = {}

    def tick(self, processes: Iterable[Watched]) -> None:
        """Sends beats to those that are due, and kills those that missed theirs."""
        pulses = {}
        for process in processes:
            child = process.child
            pulse = pulses[child] = self._pulses.get(child) or _Pulse()
            pulse.ticks += 1
            pulse.age += 1
            if not process.answers and pulse.age * self._tick_s > process.start_s:
                child.kill(f"did not say within {process.start_s:g} s that it serves")
            elif not process.answers and pulse.ticks % self._interval == 0 and not look_at(child.pid).is_stopped:
                pulse.ticks = 0
            elif process.answers and child.beat == pulse.sent:
                if pulse.ticks >= self._interval:
                    pulse.sent += 1
                    pulse.ticks, pulse.spared, pulse.cpu_s = 0, 0, look_at(child.pid).cpu_s
                    child.send(Beat(number=pulse.sent))
            elif pulse.ticks >= self._limit:
                self._judge(process, pulse)
        self._pulses = pulses

    def _judge(self, process: Watched, pulse: _Pulse) -> None:
        look = look_at(process.child.pid)
        used_s, pulse.cpu_s, pulse.ticks = look.cpu_s - pulse.cpu_s, look.cpu_s, 0
        if look.is_stopped:
            process.child.kill(f"was stopped and did not answer for {self._limit_s:g} s")
        elif process.answers and pulse.spared < process.patience and self._is_busy(look, used_s):
            pulse.spared += 1
        elif process.answers:
            process.child.kill(f"did not answer for {self._limit_s * (1 + pulse.spared):g} s")

    def _is_busy(self, look: Look, used_s: float) -> bool:
        return bool(look.states & _RUNNING) or used_s > _BUSY_SHARE * self._limit_s
