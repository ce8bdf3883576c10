"""Tasks of the event loop whose failure somebody hears of."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_logger = logging.getLogger("corelane")

_Result = TypeVar("_Result")

_WAIT_MAX_S = 30.0


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


async def on_daemon_thread(function: Callable[[], _Result], name: str, limit_s: float | None = None) -> _Result:
    """What `function` returns, on a thread of its own. If that never ends (on a file system that hangs, say), it keeps
    neither whoever waits from being cancelled nor the process from ending. TimeoutError after `limit_s`: then it may
    still be done."""
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
    async with asyncio.timeout(limit_s):
        return await future
