"""The messages between the supervisor and its processes: a line of JSON each, with one encode and one decode.

`worker_messages` has what only workers hear and say, `gateway_messages` what only gateways do, `questions` what
gateways ask of the supervisor.
"""

import json
from dataclasses import dataclass

from corelane.processor.control.codec import codec_of
from corelane.processor.control.gateway_messages import Counts, GatewayStart, Ready, RoutingTable, Stop, TableTaken
from corelane.processor.control.questions import Inquiry, Response
from corelane.processor.control.worker_messages import Available, Drain, LoadStep, Place, WorkerStart
from corelane.processor.errors import InvalidMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """To a process that serves, which sends it back by way of all that serves."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """From a process that cannot do what it was started for, before it ends."""

    error: str


Message = (
    Beat
    | Failed
    | WorkerStart
    | Place
    | Drain
    | LoadStep
    | Available
    | GatewayStart
    | RoutingTable
    | Stop
    | Ready
    | TableTaken
    | Counts
    | Inquiry
    | Response
)

_CODEC = codec_of(Message)


def encode(message: Message) -> bytes:
    """The message as a line, its end included."""
    assert _CODEC.pack is not None
    return json.dumps(_CODEC.pack(message), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line, with or without its end. InvalidMessage for no JSON, an unknown kind, and fields that are
    missing, unknown or of another type."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(str(error)) from error
    message: Message = _CODEC.unpack(plain)
    return message


def not_understood(message: object) -> InvalidMessage:
    """For a message that has no meaning for the one who hears it."""
    return InvalidMessage(f"{type(message).__name__} means nothing here")
