"""Tasks of the event loop whose failure somebody hears of."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_logger = logging.getLogger("corelane")


def start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Runs a coroutine on the running loop; an exception that ends it is logged, with its trace."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.critical("%s ended by a fault of ours", task.get_name(), exc_info=error)
