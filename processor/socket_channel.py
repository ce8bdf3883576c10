"""The channel over Unix sockets.

A connection carries one request at a time, so a gateway holds as many as it has requests in flight and a closed
connection is the cancellation of its request. Frames are in the byte order of the host:

    request:  method u32, deadline i64 (monotonic ns), size u64, payload
    response: gRPC code u32, size u64, payload (an error's message, if the code is not 0)
"""

import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from processor.channel import Cancellation, Request, WorkerChannel, WorkerLost
from processor.errors import Cancelled, DeadlinePassed, RequestError
from processor.methods import Method
from processor.wire.status import error_of_number, number_of

_logger = logging.getLogger(__name__)

_REQUEST = struct.Struct("=IqQ")
_RESPONSE = struct.Struct("=IQ")
_METHODS = frozenset(Method)
_CHUNK_BYTES = 1 << 18
_BACKLOG = 1024
_SEND_TIMEOUT_S = 30  # a gateway that takes no answer for this long is as good as gone


class SocketChannel(WorkerChannel):
    """Thread safety: `call` from any thread. Guarded by _lock: _idle, _closed."""

    def __init__(self, path: str, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._closed = False

    def call(self, method: Method, request: bytes, deadline_ns: int, cancellation: Cancellation) -> bytes:
        connection = self._take()
        reusable = False
        try:
            cancellation.on_cancel(lambda: _shut(connection))
            self._arm(connection, deadline_ns)
            _send_all(connection, _REQUEST.pack(method, deadline_ns, len(request)), request)
            code, size = _RESPONSE.unpack(self._receive(connection, _RESPONSE.size, deadline_ns))
            payload = self._receive(connection, size, deadline_ns)
            reusable = True
        except TimeoutError:
            raise DeadlinePassed("the deadline passed before the answer") from None
        except OSError as error:
            if cancellation.cancelled:
                raise Cancelled("the client hung up") from None
            raise WorkerLost(str(error)) from error
        finally:
            cancellation.on_cancel(None)
            self._give_back(connection, reusable and not cancellation.cancelled)
        if code:
            raise error_of_number(code, payload.decode(errors="replace"))
        return payload

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> socket.socket:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise WorkerLost(f"cannot connect: {error}") from error
        return connection

    def _give_back(self, connection: socket.socket, reusable: bool) -> None:
        if reusable:
            with self._lock:
                if not self._closed:
                    self._idle.append(connection)
                    return
        connection.close()

    def _arm(self, connection: socket.socket, deadline_ns: int) -> None:
        remaining_s = (deadline_ns - self._clock_ns()) / 1e9
        if remaining_s <= 0:
            raise TimeoutError
        connection.settimeout(remaining_s)

    def _receive(self, connection: socket.socket, size: int, deadline_ns: int) -> bytes:
        if size == 0:
            return b""
        chunk = connection.recv(size)
        if len(chunk) == size:
            return chunk
        buffer = bytearray(size)
        filled = 0
        while chunk:
            buffer[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            if filled == size:
                return bytes(buffer)
            self._arm(connection, deadline_ns)
            chunk = connection.recv(min(size - filled, _CHUNK_BYTES))
        raise ConnectionResetError("the worker closed the connection")


class SocketChannelServer:
    """A worker's end: one thread reads every connection and submits what arrives.

    Thread safety: `stop` from any thread; `Request.reply` from any thread, once a request.
    Invariant: a connection has at most one request between its last byte and its reply.
    """

    def __init__(
        self,
        path: Path,
        *,
        message_bytes_max: int,
        submit: Callable[[Request], None],
        cancelled: Callable[[Request], None],
        expire: Callable[[int], int | None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`submit` takes a request or raises the RequestError to answer; `cancelled` hears of a request whose gateway
        went; `expire(now_ns)` answers what has waited too long and returns when to be called again."""
        self._message_bytes_max = message_bytes_max
        self._submit = submit
        self._cancelled = cancelled
        self._expire = expire
        self._clock_ns = clock_ns
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._wake_read, self._wake_write = os.pipe()
        self._stopping = False
        self._connections: set[_Connection] = set()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="channel", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def stop(self) -> None:
        """Closes every connection and ends the reader."""
        self._stopping = True
        os.write(self._wake_write, b".")
        self._thread.join()

    def _serve(self) -> None:
        while not self._stopping:
            now_ns = self._clock_ns()
            due_ns = self._expire(now_ns)
            timeout_s = None if due_ns is None else max(0.0, (due_ns - now_ns) / 1e9)
            for key, _ in self._selector.select(timeout_s):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    os.read(self._wake_read, 4096)
                else:
                    self._read(key.data)
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            _logger.warning("a gateway could not connect: %s", error)
            return
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("=qq", _SEND_TIMEOUT_S, 0))
        connection = _Connection(accepted)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _read(self, connection: "_Connection") -> None:
        try:
            data = connection.socket.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.received.append(data)
        connection.received_bytes += len(data)
        if connection.size is None:
            if connection.received_bytes < _REQUEST.size:
                return
            whole = b"".join(connection.received)
            connection.method, connection.deadline_ns, connection.size = _REQUEST.unpack_from(whole)
            connection.received = [whole[_REQUEST.size :]]
            connection.received_bytes -= _REQUEST.size
            # A gateway refuses what is too large; a frame over the limit is not a gateway's.
            known = connection.method in _METHODS
            if not known or connection.size > self._message_bytes_max or connection.request is not None:
                _logger.error("a connection sent a frame that no gateway sends; it is closed")
                self._drop(connection)
                return
        if connection.received_bytes >= connection.size:
            self._complete(connection)

    def _complete(self, connection: "_Connection") -> None:
        payload = connection.received[0] if len(connection.received) == 1 else b"".join(connection.received)
        request = Request(
            method=Method(connection.method),
            payload=payload,
            deadline_ns=connection.deadline_ns,
            arrived_ns=self._clock_ns(),
            send=connection.send,
        )
        connection.received, connection.received_bytes, connection.size = [], 0, None
        connection.request = request
        try:
            self._submit(request)
        except RequestError as error:
            request.reply(error)

    def _drop(self, connection: "_Connection") -> None:
        self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        request = connection.request
        connection.close()
        if request is not None:
            request.cancelled = True
            self._cancelled(request)


class _Connection:
    """One gateway connection. The reader thread owns all but `request`, which the replying thread clears before the
    gateway can send the next one."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.received: list[bytes] = []
        self.received_bytes = 0
        self.size: int | None = None
        self.method = 0
        self.deadline_ns = 0
        self.request: Request | None = None
        # Guards the socket against being closed, and its number reused, while an answer is written.
        self._lock = threading.Lock()
        self._open = True

    def send(self, result: bytes | RequestError) -> None:
        self.request = None
        code, payload = (0, result) if isinstance(result, bytes) else (number_of(result), str(result).encode())
        with self._lock:
            if not self._open:
                return
            try:
                _send_all(self.socket, _RESPONSE.pack(code, len(payload)), payload)
            except OSError as error:
                # The reader sees the same and drops the connection.
                _logger.debug("an answer found no gateway: %s", error)
                _shut(self.socket)

    def close(self) -> None:
        _shut(self.socket)
        with self._lock:
            self._open = False
            self.socket.close()


def _send_all(connection: socket.socket, header: bytes, payload: bytes) -> None:
    sent = connection.sendmsg([header, payload])
    if sent < len(header) + len(payload):
        if sent < len(header):
            connection.sendall(header[sent:])
            sent = len(header)
        connection.sendall(memoryview(payload)[sent - len(header) :])


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        _logger.debug("already closed: %s", error)
