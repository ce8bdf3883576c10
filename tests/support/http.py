"""A request by hand: what a client library would hide."""

import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    address: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout_s: float = 30
) -> Answer:
    """A body that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        is_json = not isinstance(body, bytes | None)
        data = json.dumps(body).encode() if is_json else body
        kind = {"Content-Type": "application/json"} if is_json else {}
        connection.request(method, path, data, {**kind, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    finally:
        connection.close()
