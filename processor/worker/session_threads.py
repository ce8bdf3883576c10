"""Whether a worker's sessions are alive: a model's native code may end the thread that it runs on, or never return."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from corelane.processor.errors import LoadError
from corelane.processor.system.threads import end_process

if TYPE_CHECKING:
    from corelane.processor.worker.session_group import SessionGroup


class SessionThreads:
    """The threads of a group's sessions, as the kernel numbers them. Thread safety: `check` from any thread, the rest
    from one at a time."""

    def __init__(self, run_timeout_s: float) -> None:
        """A run may take `run_timeout_s`: nobody waits for it any longer, and it keeps a session, and in the pool a
        core, from everybody else."""
        self._numbers: tuple[int, ...] = ()
        self._run_timeout_s = run_timeout_s
        self._group: SessionGroup | None = None

    @contextlib.contextmanager
    def changing(self, group: SessionGroup) -> Iterator[None]:
        """While sessions come and go, none is missed. LoadError passes through: they stayed as they were."""
        before, self._group = self._numbers, group
        self.forget()
        try:
            yield
        except LoadError:
            self._numbers = before
            raise
        self._numbers = tuple(session.thread for session in group.sessions())

    def forget(self) -> None:
        self._numbers = ()

    def check(self) -> None:
        """Ends the process if one of them has ended, or runs one request for ever."""
        if self._group is not None and self._group.longest_run_s() > self._run_timeout_s:
            end_process(f"a run did not end within {self._run_timeout_s:g} s (run_timeout_s of its model)")
        for number in self._numbers:
            if not os.path.exists(f"/proc/self/task/{number}"):
                end_process(f"the thread {number} of a session has ended")
