"""How the supervisor and its processes talk: `messages` has the kinds of messages, `connection` carries them."""

from corelane.processor.control.connection import MESSAGE_BYTES_MAX, ControlClient, connect
from corelane.processor.control.messages import Message, decode, encode

__all__ = ["MESSAGE_BYTES_MAX", "ControlClient", "Message", "connect", "decode", "encode"]
