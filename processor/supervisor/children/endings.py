"""How a process ended, in words: the signal, what it said last that matters, and what most likely was the matter."""

import contextlib
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_OUT_OF_MEMORY = "memory ran out on this host (the kernel has killed processes since this one started)"
_OP_LIBRARY = "a custom-op library of the model (op_libraries)"
# In order of likelihood, for whoever has to find out.
_CAUSES = {
    signal.SIGSEGV: (
        _OP_LIBRARY,
        "a fault of the engine on this graph (try another: engine)",
        "a fault of Corelane's native code",
    ),
    signal.SIGABRT: (
        "a check of the engine or of a custom op failed, as its last words say",
        "memory_bytes_max is too small for it",
    ),
    signal.SIGBUS: (
        "a file of the version was cut short or overwritten in place while it was mapped (copy beside, then rename)",
        "/dev/shm or the disk of the cache is full",
    ),
    signal.SIGILL: (
        "a library or custom op that was built for another processor",
        "ONEDNN_MAX_CPU_ISA is set higher than this one",
    ),
    signal.SIGFPE: ("a division of integers by zero in a custom op or the engine",),
    signal.SIGKILL: ("somebody ended it by hand", "a limit of its container or service on memory"),
    signal.SIGTERM: ("somebody ended it by hand",),
    signal.SIGXCPU: ("a limit on CPU time (ulimit -t)",),
    signal.SIGXFSZ: ("a limit on the size of files (ulimit -f)",),
}
_MATTERS = re.compile(
    r"\b(error|fatal|critical|exception|terminate called|what\(\):|check failed|assert\w*|abort\w*|cannot|"
    r"failed|not found|undefined symbol|no space left|out of memory|bad_alloc|killed)\b",
    re.IGNORECASE,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Of a stack's trace, of what wraps an error's text, and what a process says of its work.
_NOISE = re.compile(
    r"(INFO|DEBUG) |[IW]\d{4} |\s*(@|#\d+|\||\*\*\*|\.\.\.|stack trace|Traceback|~)|\s*\W*$|.*\[[VIW]:onnxruntime|"
    r"\d{4}-\d\d-\d\d .*: [IW] ",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """`how` as in "the worker was killed by SIGSEGV"; `words` are its own, the line that says most; `causes` the most
    likely first. Both may be empty."""

    how: str
    words: str = ""
    causes: tuple[str, ...] = ()

    def of_model(self, op_libraries: Sequence[str]) -> "Ending":
        """Without the causes that a worker of a model with these custom ops cannot have."""
        if op_libraries:
            return self
        return replace(self, causes=tuple(cause for cause in self.causes if cause != _OP_LIBRARY))

    def describe(self, subject: str, when: str = "") -> str:
        """A sentence of all that is known."""
        text = f"{subject} {self.how}{when}"
        if self.words:
            text += f"; its last words: {self.words}"
        if self.causes:
            text += f"; likely {' or '.join(self.causes)}"
        return text


def ending_of(code: int, killed: str, tail: Sequence[str], kills_before: int | None) -> Ending:
    """Of a process's exit code as `subprocess` has it. `killed`: why we ended it, if we did; `tail`: its last lines;
    `kills_before`: what `memory_kills` said at its start."""
    words = last_words(tail)
    if killed:
        return Ending(how=f"{killed}; it was killed", words=words)
    if code == 0:
        return Ending(how="exited", words=words)
    if code > 0:
        return Ending(how=f"exited with code {code}", words=words)
    try:
        number = signal.Signals(-code)
    except ValueError:  # a real-time signal, which has no name
        return Ending(how=f"was killed by signal {-code}", words=words)
    causes = _CAUSES.get(number, ())
    kills = memory_kills()
    if number is signal.SIGKILL and kills is not None and kills_before is not None and kills > kills_before:
        causes = (_OUT_OF_MEMORY,)
    return Ending(how=f"was killed by {number.name}", words=words, causes=causes)


def last_words(tail: Sequence[str]) -> str:
    """The last line that tells of an error; else the last that tells anything."""
    lines = [line.strip() for line in (_COLOURS.sub("", line) for line in tail) if not _NOISE.match(line)]
    return next((line for line in reversed(lines) if _MATTERS.search(line)), lines[-1] if lines else "")


def memory_kills() -> int | None:
    """How many processes the kernel has killed for memory since it started; None where it does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return None
