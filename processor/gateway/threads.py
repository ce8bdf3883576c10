"""The threads that run calls."""

import logging
from concurrent.futures import ThreadPoolExecutor

_logger = logging.getLogger(__name__)

_AT_ONCE = 4


class CallThreads(ThreadPoolExecutor):
    """Where the system refuses a further thread, those that there are run the calls, one after the other: whoever hands
    a call over is the server's own thread, which must not end."""

    def __init__(self, threads_max: int, name: str) -> None:
        super().__init__(threads_max, thread_name_prefix=name)
        self._refused = False
        for _ in range(min(_AT_ONCE, threads_max)):
            super()._adjust_thread_count()

    def _adjust_thread_count(self) -> None:
        # `submit` has queued the call before it comes here.
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                raise
            if not self._refused:
                self._refused = True
                _logger.error("no further thread than %d for calls: %s", len(self._threads), error)
