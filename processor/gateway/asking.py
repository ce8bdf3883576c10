"""What a gateway asks of the supervisor, and the answers as they come."""

import itertools
import threading
from concurrent.futures import Future

from corelane.processor import control
from corelane.processor.control.questions import Inquiry, Response
from corelane.processor.errors import DeadlinePassed, TooLarge
from corelane.processor.wire.status import error_of_number


class Ask:
    """Questions of this gateway. Thread safety: every method from any thread."""

    def __init__(self, client: control.ControlClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, Future[Response]] = {}

    def __call__(self, what: str, body: str, timeout_s: float | None = None) -> str:
        """The supervisor's answer; the RequestError that it gave for one. DeadlinePassed if there is none in time: what
        was asked for goes on. TooLarge if it is too much to ask."""
        future: Future[Response] = Future()
        with self._lock:
            number = next(self._numbers)
            self._open[number] = future
        try:
            self._client.send(Inquiry(number=number, subject=what, body=body))
            answer = future.result(timeout_s)
        except TooLarge:
            with self._lock:
                self._open.pop(number, None)
            raise
        except TimeoutError:
            with self._lock:
                self._open.pop(number, None)
            raise DeadlinePassed("the deadline passed before it was done; it goes on") from None
        if answer.code:
            raise error_of_number(answer.code, answer.body)
        return answer.body

    def answered(self, message: Response) -> None:
        """The supervisor's message with an answer."""
        with self._lock:
            future = self._open.pop(message.number, None)
        if future is not None:
            future.set_result(message)
