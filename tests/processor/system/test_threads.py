"""Threads that a process cannot do without, and pools that make do with few."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from corelane.processor.gateway.grpc.server import _is_polling
from corelane.processor.system.threads import ThreadPool
from corelane.processor.worker.session_threads import SessionThreads

# A thread's stack takes more of the address space than there is left for a few of them.
_SCARCE = """
import resource, sys, threading, time
from corelane.processor.system import threads
def main(arguments):
    threading.stack_size(64 << 20)
    pool = threads.ThreadPool(16, "few")
    spare = int(arguments[0])
    if spare:
        pool.submit(lambda: None).result()
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + (spare << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    works = [pool.submit(lambda number=number: time.sleep(0.01) or number) for number in range(64)]
    assert [work.result() for work in works] == list(range(64))
    print("done by", len(pool._threads))
threads.run(main, sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("spare_mebibytes", "said"),
    [
        (200, "can't start new thread: calls wait for"),
        (0, "the main thread ended by a fault (RuntimeError: can't start new thread); the process ends"),
    ],
)
def test_a_pool_makes_do_with_the_threads_it_gets(spare_mebibytes: int, said: str) -> None:
    command = [sys.executable, "-c", _SCARCE, str(spare_mebibytes)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 4
    assert said in result.stderr
    if spare_mebibytes:
        assert "the main thread ended; the process ends" in result.stderr


def test_a_thread_that_waits_elsewhere_does_not_poll() -> None:
    event = threading.Event()

    def wait_in_a_call() -> None:
        event.wait()

    def poll() -> None:
        while not event.is_set():
            time.sleep(0.001)

    def begins(target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target)
        thread.start()
        return thread

    polling, waiting = begins(poll), begins(wait_in_a_call)
    while not _is_polling(polling):
        time.sleep(0.001)
    assert not any(_is_polling(waiting) for _ in range(1000))
    event.set()
    for thread in (polling, waiting):
        thread.join()
        assert not _is_polling(thread)


def test_a_session_without_its_thread_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        def sessions(self) -> list[object]:
            return [type("Session", (), {"thread": thread.native_id})() for thread in (alive, gone)]

        def longest_run_s(self) -> float:
            return 0.0

    done = threading.Event()
    alive, gone = threading.Thread(target=done.wait), threading.Thread(target=done.wait)
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    sessions = SessionThreads(30.0)
    sessions.check()
    alive.start()
    gone.start()
    with sessions.changing(Group()):  # type: ignore[arg-type]
        sessions.check()
    sessions.check()
    assert ends == []
    done.set()
    gone.join()
    alive.join()
    while not ends:  # the kernel's thread ends a moment after Python's
        sessions.check()
    assert set(ends) == {4}
    sessions.forget()
    ends.clear()
    sessions.check()
    assert ends == []


def test_a_pool_without_a_limit_is_as_usual() -> None:
    pool = ThreadPool(3, "usual")
    assert sorted(pool.map(lambda number: number * 2, range(50))) == list(range(0, 100, 2))
    pool.shutdown()
