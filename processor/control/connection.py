"""The control connection between the supervisor and each of its processes: a line of JSON a message.

The child holds one end as an inherited file descriptor. Its end of file means that the supervisor is gone, and the
child ends itself at once. The supervisor kills a child that closes its end, or says what is no message.
"""

import ctypes
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from corelane.processor.errors import StartError, TooLarge
from corelane.processor.system import threads

Message = dict[str, Any]

MESSAGE_BYTES_MAX = 1 << 24  # of what a child says; it takes what it hears whole
_PR_SET_PDEATHSIG = 1


class ControlClient:
    """A child's end. Thread safety: `send` from any thread; messages are handled on one thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def receive(self) -> Message | None:
        """The next message, or None when the supervisor has gone."""
        try:
            line = self._lines.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def send(self, message: Message) -> None:
        """Sends, or drops the message if the supervisor has gone: then `receive` ends, and so does the process.
        TooLarge, and nothing is sent, for one over MESSAGE_BYTES_MAX."""
        data = encode(message)
        if len(data) > MESSAGE_BYTES_MAX:
            raise TooLarge(
                f"this takes {len(data)} bytes as a message to the supervisor, which reads {MESSAGE_BYTES_MAX} at most"
            )
        with self._lock:
            try:
                self._socket.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                return

    def serve(self, handle: Callable[[Message], None]) -> None:
        """Handles messages on this thread until the supervisor goes; then ends the process, as an exception does."""
        try:
            while (message := self.receive()) is not None:
                handle(message)
        except BaseException as error:
            threads.end_process("a message of the supervisor was not handled", error)
        os._exit(1)


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the one that started it ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise StartError(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        os._exit(1)


def connect(arguments: list[str]) -> tuple[ControlClient, Message]:
    """What a child does first: bound to its parent, deaf to the terminal's Ctrl-C, and told what it is for.

    `arguments` are [control descriptor, parent's pid, a name for listings of processes] and, from a process that has
    read it already, the first message as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent(int(arguments[1]))
    client = ControlClient(int(arguments[0]))
    first = json.loads(arguments[3]) if len(arguments) > 3 else client.receive()
    if first is None:
        os._exit(1)
    return client, first
