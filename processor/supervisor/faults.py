"""Faults of ours, kept from stopping what has nothing to do with them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

_logger = logging.getLogger("corelane")

_AGAIN_S = 60.0
_KNOWN_MAX = 256


class Faults:
    """Contains exceptions and logs them with their trace; the same one again after a minute at the earliest. Belongs to
    the event loop's thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._logged_s: dict[tuple[str, str], float] = {}

    @contextlib.contextmanager
    def contained(self, what: str) -> Iterator[None]:
        """An exception inside ends there."""
        try:
            yield
        except Exception as error:
            self.log(what, error)

    def ran(self, what: str, step: Callable[[], object]) -> bool:
        """Runs a step; False if it raised."""
        try:
            step()
        except Exception as error:
            self.log(what, error)
            return False
        return True

    def log(self, what: str, error: Exception) -> None:
        if self._is_due(what, error):
            _logger.critical("%s failed by a fault of ours; the rest goes on", what, exc_info=error)

    def on_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler. Without descriptors, a loop tells of each connection that waits."""
        error = context.get("exception")
        if self._is_due(context["message"], error):
            _logger.error("%s; the rest goes on", context["message"], exc_info=error)

    def _is_due(self, what: str, error: BaseException | None) -> bool:
        key = what, repr(error)[:200]
        now_s = self._clock_s()
        if now_s - self._logged_s.get(key, -_AGAIN_S) < _AGAIN_S:
            return False
        if len(self._logged_s) >= _KNOWN_MAX:
            self._logged_s.clear()
        self._logged_s[key] = now_s
        return True
