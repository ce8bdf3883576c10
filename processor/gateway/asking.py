"""What a gateway asks of the supervisor, and the answers as they come."""

import itertools
import threading
from concurrent.futures import Future

from processor import control
from processor.errors import InvalidRequest, Overloaded
from processor.wire.status import error_of_number

_BODY_BYTES_MAX = 8 << 20
_OPEN_MAX = 256


class Ask:
    """Questions of this gateway. Thread safety: every method from any thread."""

    def __init__(self, client: control.ControlClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, Future[control.Message]] = {}

    def __call__(self, what: str, body: str) -> str:
        """The supervisor's answer; the RequestError that it gave for one."""
        if len(body) > _BODY_BYTES_MAX:
            raise InvalidRequest(f"the request is over the {_BODY_BYTES_MAX} bytes that the server manages itself by")
        future: Future[control.Message] = Future()
        with self._lock:
            if len(self._open) >= _OPEN_MAX:
                raise Overloaded(f"{_OPEN_MAX} calls that ask the server itself are under way at this gateway")
            number = next(self._numbers)
            self._open[number] = future
        self._client.send({"type": "ask", "id": number, "what": what, "body": body})
        answer = future.result()
        if answer["code"]:
            raise error_of_number(answer["code"], answer["body"])
        text: str = answer["body"]
        return text

    def answered(self, message: control.Message) -> None:
        """The supervisor's message with an answer."""
        with self._lock:
            future = self._open.pop(message["id"])
        future.set_result(message)
