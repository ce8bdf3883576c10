"""The client whose calls are awaited."""

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import numpy as np

from corelane.client import exchange
from corelane.client.connection import Connection, ConnectionOptions, channel_of
from corelane.client.exchange import CallOptions, Exchange, Pause, PredictOptions, Signatures, StatusOptions, Steps
from corelane.processor.errors import ClientClosed

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: what it takes, sends, answers and raises is the same.

    It belongs to the event loop of its first call, and may be made outside of one. A task that is cancelled takes its
    call with it."""

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Options, by `Connection.make`: ca, certificate, key, api_key, timeout_s, retries, sticky_key, fit."""
        self._exchange = Exchange(Connection.make(address, **options))
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._methods: dict[str, Any] = {}
        self._closed = False

    async def predict(self, model: str, inputs: Any, **options: Unpack[PredictOptions]) -> dict[str, np.ndarray]:
        """As `Client.predict`."""
        return (await self._run(self._exchange.predict(model, inputs, **options)))[0]

    async def predict_versioned(
        self, model: str, inputs: Any, **options: Unpack[PredictOptions]
    ) -> tuple[dict[str, np.ndarray], int]:
        """As `Client.predict_versioned`."""
        return await self._run(self._exchange.predict(model, inputs, **options))

    async def signatures(self, model: str, **options: Unpack[CallOptions]) -> Signatures:
        """As `Client.signatures`."""
        return await self._run(self._exchange.signatures(model, **options))

    metadata = signatures

    async def status(self, model: str, **options: Unpack[StatusOptions]) -> dict[int, str]:
        """As `Client.status`."""
        return await self._run(self._exchange.status(model, **options))

    async def close(self) -> None:
        """Ends the connection, and calls that are on their way with ClientClosed. May be called twice."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        answer, failure = None, None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            self._check_open()
            self._open()
            try:
                answer = await self._methods[step.method](step.request, timeout=step.timeout_s, metadata=step.metadata)
            except grpc.RpcError as error:
                self._check_open()
                failure = error
            except (grpc.aio.UsageError, asyncio.CancelledError):
                # A channel that closes cancels its calls; a task that is cancelled is not closed.
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    self._check_open()
                raise

    def _open(self) -> None:
        """The channel is made in the loop that it will live in."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._channel = channel_of(self._exchange.connection, grpc.aio)
            self._methods = exchange.methods_over(self._channel)
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosed("this AsyncClient belongs to another event loop; make one for each loop")

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("this client is closed; make another")
