"""Tasks of the event loop whose failure somebody hears of."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_logger = logging.getLogger("corelane")

_WAIT_MAX_S = 30.0


def start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Runs a coroutine on the running loop; an exception that ends it is logged, with its trace."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    task.add_done_callback(_report)
    return task


def keep(make: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
    """Runs what the server cannot do without: ended by an exception, it starts again, after longer and longer waits."""
    return start(_again(make, name), name)


async def _again(make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    wait_s = 0.5
    while True:
        try:
            await make()
            return
        except Exception:
            _logger.critical("%s failed; it starts again in %g s", name, wait_s, exc_info=True)
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _WAIT_MAX_S)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.critical("%s ended by a fault of ours", task.get_name(), exc_info=error)
