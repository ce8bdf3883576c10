"""Tasks of the event loop whose failure somebody hears of."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_logger = logging.getLogger("corelane")


def start(
    coroutine: Coroutine[Any, Any, None], name: str, on_failure: Callable[[str], None] | None = None
) -> asyncio.Task[None]:
    """Runs a coroutine on the running loop; an exception that ends it is logged, with its trace, and told `on_failure`
    in words."""

    def report(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.critical("%s ended by a fault of ours", name, exc_info=error)
            if on_failure is not None:
                on_failure(f"{name} ended by a fault: {type(error).__name__}: {error}")

    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    task.add_done_callback(report)
    return task
