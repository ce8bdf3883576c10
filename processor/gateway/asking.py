"""Questions of a gateway to the supervisor, and the answers as they come."""

import itertools
import threading
import typing
from concurrent.futures import Future
from typing import Any, TypeVar

from corelane.processor import control
from corelane.processor.control.messages import not_understood
from corelane.processor.control.questions import AnyQuestion, Inquiry, Question, Refusal, Response, answer_type
from corelane.processor.errors import DeadlinePassed, TooLarge
from corelane.processor.wire.status import error_of_number

_Answer = TypeVar("_Answer")


class Ask:
    """Thread safety: every method from any thread."""

    def __init__(self, client: control.ControlClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, tuple[type, Future[Any]]] = {}  # the kind of each answer, and who waits for it

    def __call__(self, question: Question[_Answer], timeout_s: float | None = None) -> _Answer:
        """The supervisor's answer, or the RequestError that it gives for one. DeadlinePassed if none comes in time: the
        supervisor goes on with what was asked. TooLarge if the question has no room in a message."""
        future: Future[_Answer | Refusal] = Future()
        with self._lock:
            number = next(self._numbers)
            self._open[number] = (answer_type(question), future)
        try:
            self._client.send(Inquiry(number=number, question=typing.cast(AnyQuestion, question)))
            answer = future.result(timeout_s)
        except TooLarge:
            self._forget(number)
            raise
        except TimeoutError:
            self._forget(number)
            raise DeadlinePassed("the deadline passed before it was done; it goes on") from None
        if isinstance(answer, Refusal):
            raise error_of_number(answer.code, answer.reason)
        return answer

    def answered(self, response: Response) -> None:
        """Hands an answer to who waits for it. InvalidMessage for one of another kind than the question's."""
        with self._lock:
            kind, future = self._open.pop(response.number, (None, None))
        if kind is None or future is None:
            return  # nobody waits any longer
        if not isinstance(response.answer, kind | Refusal):
            raise not_understood(response.answer)
        future.set_result(response.answer)

    def _forget(self, number: int) -> None:
        with self._lock:
            self._open.pop(number, None)
