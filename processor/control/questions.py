"""Questions that a gateway asks of the supervisor, and their answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    number: int
    subject: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    number: int
    code: int
    body: str
