"""Threads of a gateway or a worker. One that ends by a fault ends its process: the supervisor starts another, which is
better than a process that lives on without it."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from corelane.processor import logs

_logger = logging.getLogger(__name__)

FAULT = 4  # the exit code
_WARNING_S = 60.0


def end_process(reason: str, error: BaseException | None = None) -> NoReturn:
    """Ends the process now; the supervisor takes the last line of the log for the reason."""
    try:
        if error is not None:
            _logger.critical("%s", reason, exc_info=error)
        _logger.critical("%s%s; the process ends", reason, "" if error is None else f" ({_in_words(error)})")
        logs.flush()
    finally:
        os._exit(FAULT)


def guard() -> None:
    """From now on an exception that ends any thread ends the process, whoever started the thread."""

    def ended(fault: threading.ExceptHookArgs) -> None:
        name = "a thread" if fault.thread is None else f"thread {fault.thread.name}"
        end_process(f"{name} ended by a fault", fault.exc_value)

    threading.excepthook = ended


def run(main: Callable[[list[str]], None], arguments: list[str]) -> NoReturn:
    """Runs a process's main function under guard. A return ends the process, too: threads that still wait for work
    hold it up no longer."""
    guard()
    try:
        main(arguments)
    except BaseException as error:
        end_process("the main thread ended by a fault", error)
    end_process("the main thread ended")


def start(target: Callable[[], object], name: str, may_end: Callable[[], bool] = lambda: False) -> threading.Thread:
    """Starts a daemon thread that must not end: when it does, however it does, the process ends, unless it `may_end` by
    then."""

    def watched() -> None:
        try:
            target()
        except BaseException as error:
            # SystemExit, which `threading.excepthook` never hears of, is one.
            end_process(f"thread {name} ended by a fault", error)
        if not may_end():
            end_process(f"thread {name} ended")

    thread = threading.Thread(target=watched, name=name, daemon=True)
    thread.start()
    return thread


class ThreadPool(ThreadPoolExecutor):
    """An executor that makes do with the threads it has where the system gives it no more: what is submitted waits for
    one of them. RuntimeError only if it has none at all."""

    def __init__(self, threads_max: int, name: str) -> None:
        super().__init__(threads_max, thread_name_prefix=name)
        self._warned_s = float("-inf")

    def _adjust_thread_count(self) -> None:
        # By now the work is in the queue; the exception would only keep its future from whoever submitted it.
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                raise
            if time.monotonic() - self._warned_s > _WARNING_S:
                self._warned_s = time.monotonic()
                _logger.warning(
                    "%s: calls wait for %d threads; raise the limit of processes and threads (ulimit -u, pids.max)",
                    error,
                    len(self._threads),
                )


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
