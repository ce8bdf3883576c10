"""Whether a worker's sessions still have their threads: a model's native code may end the thread that it runs on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from processor.errors import LoadError
from processor.threads import end_process

if TYPE_CHECKING:
    from processor.worker.session_group import SessionGroup


class SessionThreads:
    """The threads of a group's sessions, as the kernel numbers them. Thread safety: `check` from any thread, the rest
    from one at a time."""

    def __init__(self) -> None:
        self._numbers: tuple[int, ...] = ()

    @contextlib.contextmanager
    def changing(self, group: SessionGroup) -> Iterator[None]:
        """While sessions come and go, none is missed. LoadError passes through: they stayed as they were."""
        before = self._numbers
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
        """Ends the process if one of them has ended."""
        for number in self._numbers:
            if not os.path.exists(f"/proc/self/task/{number}"):
                end_process(f"the thread {number} of a session has ended")
