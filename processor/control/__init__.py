"""How the supervisor and its processes talk."""

from corelane.processor.control.connection import MESSAGE_BYTES_MAX, ControlClient, Message, connect, encode

__all__ = ["MESSAGE_BYTES_MAX", "ControlClient", "Message", "connect", "encode"]
