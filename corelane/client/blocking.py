"""The client whose calls return when they are answered."""

import time
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import numpy as np

from corelane.client import exchange
from corelane.client.connection import Connection, ConnectionOptions, channel_of
from corelane.client.exchange import CallOptions, Exchange, Pause, PredictOptions, Signatures, StatusOptions, Steps
from corelane.processor.errors import ClientClosed

T = TypeVar("T")


class Client:
    """Calls a Corelane or TensorFlow-Serving server at "host:port"; docs/client.md is its reference.

    Thread safety: every method from any thread. Failed calls raise the errors of `corelane.errors`."""

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Options, by `Connection.make`: ca, certificate, key, api_key, timeout_s, retries, sticky_key, fit."""
        connection = Connection.make(address, **options)
        self._exchange = Exchange(connection)
        self._channel: grpc.Channel = channel_of(connection, grpc)
        self._methods = exchange.methods_over(self._channel)
        self._closed = False

    def predict(self, model: str, inputs: Any, **options: Unpack[PredictOptions]) -> dict[str, np.ndarray]:
        """The model's outputs by name; strings come as bytes.

        Inputs are {name: values}, a list of rows that are dicts, or a frame of pandas or polars; values are fitted to
        the type and the rank that the signature has. Options: version, label, signature, outputs, key, metadata,
        timeout_s."""
        return self._run(self._exchange.predict(model, inputs, **options))[0]

    def predict_versioned(
        self, model: str, inputs: Any, **options: Unpack[PredictOptions]
    ) -> tuple[dict[str, np.ndarray], int]:
        """As `predict`, with the number of the version that answered."""
        return self._run(self._exchange.predict(model, inputs, **options))

    def signatures(self, model: str, **options: Unpack[CallOptions]) -> Signatures:
        """{signature: {"inputs" | "outputs": {name: (dtype, shape)}}}; shape is None if unknown."""
        return self._run(self._exchange.signatures(model, **options))

    metadata = signatures

    def status(self, model: str, **options: Unpack[StatusOptions]) -> dict[int, str]:
        """The state of each version of a model: AVAILABLE, LOADING, ..."""
        return self._run(self._exchange.status(model, **options))

    def close(self) -> None:
        """Ends the connection, and calls that are on their way with ClientClosed. May be called twice."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        answer, failure = None, None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                return end.value
            answer, failure = None, None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                continue
            self._check_open()
            try:
                answer = self._methods[step.method](step.request, timeout=step.timeout_s, metadata=step.metadata)
            except grpc.RpcError as error:
                self._check_open()
                failure = error
            except ValueError:
                self._check_open()
                raise

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("this client is closed; make another")
