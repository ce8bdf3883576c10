"""The channel over Unix sockets: both ends, real sockets, and what happens when one end goes."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.channel import Cancellation, Request, WorkerLost
from processor.errors import Cancelled, DeadlinePassed, InvalidRequest, Overloaded
from processor.methods import Method
from processor.socket_channel import SocketChannel, SocketChannelServer
from tests.support.server import wait_until
from tests.support.threads import in_threads

LIMIT = 1 << 24


def soon(seconds: float = 20) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


class Worker:
    """Keeps what it is sent; answers when told."""

    def __init__(self, path: Path) -> None:
        self.requests: list[Request] = []
        self.cancelled: list[Request] = []
        self.submit = self.requests.append
        self.server = SocketChannelServer(
            path,
            message_bytes_max=LIMIT,
            submit=lambda request: self.submit(request),
            cancelled=self.cancelled.append,
            expire=lambda now_ns: None,
        )
        self.server.start()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path / "s")
    yield made
    made.server.stop()


@pytest.fixture
def channel(tmp_path: Path, worker: Worker) -> Iterator[SocketChannel]:
    made = SocketChannel(str(tmp_path / "s"))
    yield made
    made.close()


def echo(worker: Worker) -> None:
    worker.submit = lambda request: request.reply(request.payload[::-1])


@pytest.mark.parametrize("size", [0, 1, 19, 20, 65_000, LIMIT])
def test_requests_and_answers_of_any_size(worker: Worker, channel: SocketChannel, size: int) -> None:
    echo(worker)
    payload = os.urandom(size)
    for _ in range(3):
        assert channel.call(Method.PREDICT, payload, soon(), Cancellation()) == payload[::-1]
    assert worker.server.connections == 1, "a connection is used again"


def test_what_travels_with_a_request(worker: Worker, channel: SocketChannel) -> None:
    deadline = soon()

    def submit(request: Request) -> None:
        worker.requests.append(request)
        request.reply(b"")

    worker.submit = submit
    channel.call(Method.CLASSIFY, b"abc", deadline, Cancellation())
    (request,) = worker.requests
    assert (request.method, request.payload, request.deadline_ns) == (Method.CLASSIFY, b"abc", deadline)


def test_errors_travel_back(worker: Worker, channel: SocketChannel) -> None:
    def refuse(request: Request) -> None:
        raise Overloaded("füll")

    worker.submit = refuse
    with pytest.raises(Overloaded, match="füll"):
        channel.call(Method.PREDICT, b"", soon(), Cancellation())
    worker.submit = lambda request: request.reply(InvalidRequest("no"))
    with pytest.raises(InvalidRequest, match="no"):
        channel.call(Method.PREDICT, b"", soon(), Cancellation())


def test_many_callers_at_once(worker: Worker, channel: SocketChannel) -> None:
    echo(worker)
    wrong: list[bytes] = []

    def call(caller: int) -> None:
        for number in range(100):
            payload = f"{caller}-{number}".encode() * (1 + number % 7 * 1000)
            if channel.call(Method.PREDICT, payload, soon(), Cancellation()) != payload[::-1]:
                wrong.append(payload)

    in_threads(8, call)
    assert wrong == []


def test_a_passed_deadline_cancels(worker: Worker, channel: SocketChannel) -> None:
    with pytest.raises(DeadlinePassed):
        channel.call(Method.PREDICT, b"", soon(0.05), Cancellation())
    wait_until(lambda: worker.cancelled == worker.requests and len(worker.requests) == 1, "the cancellation")
    assert worker.requests[0].cancelled
    worker.requests[0].reply(b"too late")
    with pytest.raises(DeadlinePassed):
        channel.call(Method.PREDICT, b"", soon(-1), Cancellation())
    echo(worker)
    assert channel.call(Method.PREDICT, b"ab", soon(), Cancellation()) == b"ba"


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_client_that_hangs_up_cancels(worker: Worker, channel: SocketChannel, when: str) -> None:
    cancellation = Cancellation()
    if when == "before":
        cancellation.cancel()
    else:
        worker.submit = lambda request: (worker.requests.append(request), cancellation.cancel())
    with pytest.raises(Cancelled):
        channel.call(Method.PREDICT, b"", soon(), cancellation)
    wait_until(lambda: worker.server.connections == 0, "the connection's end")


def test_a_worker_that_goes(tmp_path: Path, worker: Worker, channel: SocketChannel) -> None:
    stopper = threading.Thread(target=lambda: (wait_until(lambda: worker.requests, "a request"), worker.server.stop()))
    stopper.start()
    with pytest.raises(WorkerLost):
        channel.call(Method.PREDICT, b"", soon(), Cancellation())
    stopper.join()
    with pytest.raises(WorkerLost, match="cannot connect"):
        channel.call(Method.PREDICT, b"", soon(), Cancellation())
    worker.server = Worker(tmp_path / "other").server


@pytest.mark.parametrize("junk", [b"\xff" * 20, b"\1" + b"\0" * 11 + b"\xff" * 8, b"\0" * 20])
def test_a_frame_that_no_gateway_sends_ends_its_connection_only(
    tmp_path: Path, worker: Worker, channel: SocketChannel, junk: bytes
) -> None:
    echo(worker)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(tmp_path / "s"))
        stranger.sendall(junk)
        stranger.settimeout(10)
        assert stranger.recv(1) == b""
    assert channel.call(Method.PREDICT, b"ab", soon(), Cancellation()) == b"ba"


def test_a_request_cut_short_is_never_submitted(tmp_path: Path, worker: Worker) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(tmp_path / "s"))
        stranger.sendall(b"\x01\0\0\0" + b"\0" * 8 + b"\x64" + b"\0" * 7 + b"half")
        wait_until(lambda: worker.server.connections == 1, "the connection")
    wait_until(lambda: worker.server.connections == 0, "its end")
    assert worker.requests == []


def test_closed_channels_keep_no_connection(worker: Worker, channel: SocketChannel) -> None:
    echo(worker)
    channel.call(Method.PREDICT, b"", soon(), Cancellation())
    channel.close()
    wait_until(lambda: worker.server.connections == 0, "no connection")
