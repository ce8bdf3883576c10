"""The control connection between the supervisor and each of its processes: a line of JSON a message.

The child inherits one end as a file descriptor. End of file there means that the supervisor is gone: the child ends at
once. The supervisor kills a child that closes its end or sends a line that is no message; a child that reads such a
line ends, with the reason in its log.
"""

import ctypes
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from corelane.processor.control.messages import Message, decode, encode, not_understood
from corelane.processor.errors import StartError, TooLarge
from corelane.processor.system import threads

MESSAGE_BYTES_MAX = 1 << 24  # from a child; messages to a child have no bound
_PR_SET_PDEATHSIG = 1

_First = TypeVar("_First")


class ControlClient:
    """A child's end. Thread safety: `send` from any thread; messages are handled on one thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def receive(self) -> Message | None:
        """The next message, or None when the supervisor has gone. InvalidMessage for a line that is none."""
        try:
            line = self._lines.readline()
        except OSError:
            return None
        return decode(line) if line.endswith(b"\n") else None

    def send(self, message: Message) -> None:
        """Sends a message. If the supervisor has gone, drops it: `receive` ends then, and the process with it.
        TooLarge, and nothing is sent, for a message over MESSAGE_BYTES_MAX."""
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
        """Handles messages on this thread until the supervisor goes, then ends the process, as an exception does."""
        try:
            while (message := self.receive()) is not None:
                handle(message)
        except BaseException as error:
            threads.end_process("a message of the supervisor was not handled", error)
        os._exit(1)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, however that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise StartError(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        os._exit(1)


def connect(arguments: list[str], kind: type[_First]) -> tuple[ControlClient, _First]:
    """A child's first step: binds it to its parent, makes it deaf to the terminal's Ctrl-C, and returns the first
    message, which says what the child is for. InvalidMessage if that is of another kind.

    `arguments` are [control descriptor, parent's pid, a name for listings of processes] and, from a process that has
    read it already, the first message as `encode` has it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent(int(arguments[1]))
    client = ControlClient(int(arguments[0]))
    first = decode(arguments[3].encode()) if len(arguments) > 3 else client.receive()
    if first is None:
        os._exit(1)
    if not isinstance(first, kind):
        raise not_understood(first)
    return client, first
