"""Loading and unloading a model again and again, and what that leaves behind."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from corelane.processor.errors import RequestError
from tests.support.server import Server, wait_until

_WARM_UP = 3
_REST_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of the server's processes: how many, and of the supervisor and the gateways, which stay, the descriptors and the
    resident memory."""

    processes: int
    descriptors: int
    memory_bytes: int

    def minus(self, other: "Usage") -> "Usage":
        return Usage(
            processes=self.processes - other.processes,
            descriptors=self.descriptors - other.descriptors,
            memory_bytes=self.memory_bytes - other.memory_bytes,
        )


def usage(server: Server) -> Usage:
    pids = [server.process.pid, *(gateway["pid"] for gateway in server.status()["gateways"])]
    owners = [psutil.Process(pid) for pid in pids]
    return Usage(
        processes=len(server.processes()),
        descriptors=sum(owner.num_fds() for owner in owners),
        memory_bytes=sum(owner.memory_info().rss for owner in owners),
    )


def cycle(
    server: Server,
    without: str,
    model: str,
    cycles: int,
    progress: Callable[[int, Usage], None] = lambda done, growth: None,
) -> Usage:
    """The growth over `cycles` of applying the manifest `without` the model and then the one with it, with an answer of
    the model each time. The first cycles, which fill caches, are not counted."""
    full = server.manifest.read_text()
    processes = len(server.processes())

    with server.client() as client:

        def answers() -> bool:
            try:
                return bool(client.predict(model, {"x": [1.0]})["y"] == [1.0])
            except RequestError:
                return False

        def once() -> None:
            server.apply(without)
            wait_until(lambda: len(server.processes()) < processes, "the worker's end")
            server.apply(full)
            wait_until(answers, "an answer of the new worker")

        for _ in range(_WARM_UP):
            once()
        time.sleep(0.5)
        before = usage(server)
        for done in range(1, cycles + 1):
            once()
            progress(done, usage(server).minus(before))
        # What the last cycle closed may still be closing.
        end_s = time.monotonic() + _REST_S
        while (growth := usage(server).minus(before)).descriptors > 0 and time.monotonic() < end_s:
            time.sleep(0.1)
    return growth
