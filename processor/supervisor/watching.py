"""Files that may change while the server runs: looked at again and again."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from processor.knobs import Knobs
from processor.manifest import VersionPolicy
from processor.supervisor import runtime
from processor.supervisor.folders import FolderWatch, ModelFolder

_logger = logging.getLogger("corelane")


async def watch_folder(
    name: str,
    path: Path,
    knobs: Knobs,
    *,
    policy: Callable[[str], VersionPolicy | None],
    on_change: Callable[[str, ModelFolder], None],
) -> None:
    """Tells `on_change` what a model's folder holds, whenever that changes. No look without a policy."""
    watch = FolderWatch(path, knobs.settle_s, time.time, time.monotonic)
    last: ModelFolder | None = None
    # A thread of its own: a path on a file system that hangs holds up no other model.
    with ThreadPoolExecutor(1, thread_name_prefix=f"watch {name}") as thread:
        while True:
            try:
                versions = policy(name)
                if versions is not None:
                    folder = await asyncio.get_running_loop().run_in_executor(thread, watch.look, versions)
                    if folder != last:
                        last = folder
                        on_change(name, folder)
            except Exception as error:  # no thread for it, say: the next look may have one
                _logger.error("[%s] its folder was not looked at: %s", name, error)
            await asyncio.sleep(knobs.watch_interval_s)


FileMark = tuple[int, int, int] | None


async def watch_file(
    path: Path, interval_s: float, on_change: Callable[[], None], own_mark: Callable[[], FileMark] = lambda: None
) -> None:
    """Calls `on_change` when a file has changed and then stood still for one look; not if it is as we left it
    ourselves, which `own_mark` says."""
    applied = seen = runtime.file_mark(path)
    while True:
        await asyncio.sleep(interval_s)
        mark = runtime.file_mark(path)
        if mark == seen and mark != applied:
            applied = mark
            if mark is None or mark != own_mark():
                try:
                    on_change()
                except Exception as error:
                    _logger.critical("the change of %s was not taken over", path, exc_info=error)
        seen = mark
