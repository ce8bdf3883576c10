"""When the machine itself stood still: a thread of the highest priority on each core that notes when it was not run.

On a virtual machine the host takes cores away, here for up to a quarter of a second at a time. What was under way then
says nothing of a server, so benches leave it out and say how much that was.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

_STEP_S = 0.002
_STALL_S = 0.012

Span = tuple[float, float]


@contextlib.contextmanager
def watch() -> Iterator[list[Span]]:
    """The list has, when the block ends, the spans (in `time.perf_counter` of any process) in which a core stood still.
    Empty without the right to real-time priority."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stalls"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found: list[Span] = []
    try:
        yield found
    finally:
        output, _ = process.communicate("")
        found.extend((start, end) for line in output.splitlines() for start, end in json.loads(line))


def overlaps(start_s: float, end_s: float, spans: Sequence[Span]) -> bool:
    """Whether something between these times was held up: during a stall, or while its backlog went, as long again."""
    return any(start_s < 2 * end - start and start < end_s for start, end in spans)


def _watch_core(core: int, parent: int) -> list[Span]:
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    except PermissionError:
        return []
    spans, last_s = [], time.perf_counter()
    while os.getppid() == parent:
        time.sleep(_STEP_S)
        now_s = time.perf_counter()
        if now_s - last_s > _STALL_S:
            spans.append((last_s, now_s))
        last_s = now_s
    return spans


def main() -> None:
    """Watches until standard input ends."""
    for core in sorted(os.sched_getaffinity(0)):
        watched = os.getpid()
        if os.fork() == 0:
            spans = _watch_core(core, watched)
            os.write(1, json.dumps(spans).encode() + b"\n")
            os._exit(0)
    sys.stdin.read()


if __name__ == "__main__":
    main()
