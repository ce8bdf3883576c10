"""Tasks of the event loop whose failure somebody hears of."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_logger = logging.getLogger("corelane")

_Result = TypeVar("_Result")


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


async def on_daemon_thread(function: Callable[[], _Result], name: str) -> _Result:
    """What `function` returns, on a thread of its own. If that never ends (on a file system that hangs, say), it keeps
    neither whoever waits from being cancelled nor the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def settle(put: Callable[[Any], None], value: object) -> None:
        if not future.done():
            put(value)

    def run() -> None:
        put: Callable[[Any], None] = future.set_result
        try:
            value: object = function()
        except Exception as error:
            put, value = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, put, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
