"""Calls that last as long as their clients like: apart from the others, which would run out of threads for them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from corelane.processor.errors import Overloaded
from corelane.processor.gateway.grpc.calls import failed
from corelane.processor.system.threads import ThreadPool

Behaviour = Callable[[Any, Any], Iterator[Any]]

_SLACK = 4  # threads that say no


class Streams:
    """Streams of one kind, on threads of their own.

    Thread safety: `bounded`'s results run on any thread. Guarded by _lock: _open."""

    def __init__(self, kind: str, streams_max: int) -> None:
        """At most `streams_max` are open at once; more are refused."""
        self._kind = kind
        self._streams_max = streams_max
        self._threads = ThreadPool(streams_max + _SLACK, kind)
        self._lock = threading.Lock()
        self._open = 0

    def bounded(self, behaviour: Behaviour) -> Behaviour:
        """The behaviour of a method that answers with a stream."""

        def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if not self._enter():
                failed(context, Overloaded(f"{self._streams_max} {self._kind} are open; close one, or try again later"))
                return
            try:
                yield from behaviour(request, context)
            finally:
                self._leave()

        # grpcio's way to say where a method runs.
        behave.experimental_thread_pool = self._threads  # type: ignore[attr-defined]
        return behave

    def _enter(self) -> bool:
        with self._lock:
            room = self._open < self._streams_max
            self._open += room
        return room

    def _leave(self) -> None:
        with self._lock:
            self._open -= 1
