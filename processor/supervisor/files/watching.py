"""Files that may change while the server runs: looked at again and again."""

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from corelane.processor.knobs import Knobs
from corelane.processor.manifest import ModelSettings
from corelane.processor.supervisor import runtime, tasks
from corelane.processor.supervisor.files.folders import FolderWatch, ModelFolder

_logger = logging.getLogger("corelane")

_FINISHING_S_MIN = 0.05
_RETRY_S = 1.0  # after a look that failed


class ModelWatch:
    """Looks at a model's folder until it is cancelled, and tells `on_change` what it holds whenever that changes.

    It looks every `watch_interval_s` seconds, which may be infinite, and when it is asked to. A look that finds
    unfinished versions is followed by others at a pace of its own, until there is nothing more to wait for.

    Belongs to the event loop's thread."""

    def __init__(
        self,
        name: str,
        path: Path,
        knobs: Knobs,
        *,
        model: Callable[[str], ModelSettings | None],
        on_change: Callable[[str, ModelFolder], None],
    ) -> None:
        """No look while there are no settings of the model."""
        self.path = path
        self._name = name
        self._interval_s = knobs.watch_interval_s
        self._finishing_s = min(knobs.watch_interval_s, max(_FINISHING_S_MIN, knobs.settle_s / 2))
        self._model = model
        self._on_change = on_change
        self._watch = FolderWatch(path, knobs.settle_s, time.time, time.monotonic)
        self._asked = asyncio.Event()
        self._asked.set()
        self._looking = False
        self._task = tasks.start(self._run(), f"watch of {path}")

    @property
    def has_looked(self) -> bool:
        """Whether a look has ended that began after it was asked for the last time."""
        return not (self._asked.is_set() or self._looking)

    def look_again(self) -> None:
        """Asks for a look that begins after this."""
        self._asked.set()

    def cancel(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        last: ModelFolder | None = None
        while True:
            interval_s = self._interval_s
            model = self._model(self._name)
            if model is not None:
                self._looking = self._asked.is_set()
                self._asked.clear()
                # A thread of its own: a path on a file system that hangs holds up no other model.
                libraries = [Path(library) for library in model.op_libraries]
                look = functools.partial(self._watch.look, model.versions, libraries)
                failed = False
                try:
                    folder = await tasks.on_daemon_thread(look, f"watch {self._name}")
                except Exception as error:  # no thread for it, say: the next look may have one
                    _logger.error("[%s] its folder was not looked at: %s", self._name, error)
                    failed = True
                    # What was seen before still holds; what was never seen is not waited for without a word.
                    nothing = ModelFolder(problem=f"{self.path} was not looked at: {error}")
                    folder = last if last is not None and last.versions else nothing
                was_asked, self._looking = self._looking, False
                if folder != last or was_asked:
                    last = folder
                    self._on_change(self._name, folder)
                if failed:
                    interval_s = min(interval_s, _RETRY_S)
                elif any(version.waiting_for for version in folder.versions):
                    interval_s = self._finishing_s
            with contextlib.suppress(TimeoutError):
                # Not wait_for, which loses a cancellation that comes with what it waits for (before Python 3.12).
                async with asyncio.timeout(None if interval_s == math.inf else interval_s):
                    await self._asked.wait()


FileMark = tuple[int, int, int] | None


async def watch_file(
    path: Path, interval_s: float, on_change: Callable[[], None], own_mark: Callable[[], FileMark] = lambda: None
) -> None:
    """Calls `on_change` when a file has changed and then stood still for one look; not if it is as we left it
    ourselves, which `own_mark` says."""
    look = functools.partial(runtime.file_mark, path)
    applied = seen = await tasks.on_daemon_thread(look, "manifest watch")
    while True:
        await asyncio.sleep(interval_s)
        mark = await tasks.on_daemon_thread(look, "manifest watch")
        if mark == seen and mark != applied:
            applied = mark
            if mark is None or mark != own_mark():
                try:
                    on_change()
                except Exception as error:
                    _logger.critical("the change of %s was not taken over", path, exc_info=error)
        seen = mark
