"""Clients take no more of the host than they are given: connections, time, headers. Pings end no connection."""

import asyncio
import contextlib
import http.client
import json
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import uvicorn

from corelane.processor.gateway.grpc.server import connection_options
from corelane.processor.system import descriptors
from corelane.processor.system.http_server import HEADERS_BYTES_MAX, BoundedConfig, Bounds
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.server import WITH_REST, serving, wait_until

DESCRIPTORS_MAX = 256
FLOOD = 200


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended it; its last words are read."""
    connection.settimeout(0.01)
    try:
        while connection.recv(4096):
            continue
        return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_flood_of_connections_leaves_the_server_what_it_needs(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    one = np.ones(1, np.float32)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            serving(
                tmp_path,
                "host: {gateways: 1}\nmodels: [{name: scale, path: scale}]",
                listen=WITH_REST,
                descriptors_max=DESCRIPTORS_MAX,
            )
        )
        client = stack.enter_context(server.client())
        assert client.predict("scale", {"x": one})["y"] == 2
        rest, admin = (http.client.HTTPConnection(address, timeout=30) for address in (server.http, server.admin))

        def asked(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())

        def version() -> dict[str, Any]:
            return asked(admin, "GET", "/v1/status")["models"][0]["versions"][0]

        def predicted() -> Any:
            return asked(rest, "POST", "/v1/models/scale:predict", {"instances": [1.0]})

        assert predicted() == {"predictions": [2.0]}
        first = version()
        flood = [connect(address) for address in (server.grpc, server.http, server.admin) for _ in range(FLOOD)]
        for connection in flood:
            stack.callback(connection.close)
        wait_until(lambda: sum(map(is_closed, flood)) >= 3 * (FLOOD - 128), "those that are too many are closed")
        assert all(
            process.num_fds() <= DESCRIPTORS_MAX - descriptors.RESERVE
            for process in server.processes()
            if "gateway" in " ".join(process.cmdline())
        )
        # Who was there before is served, and so is a worker that is new.
        psutil.Process(first["pid"]).kill()
        again = wait_until(
            lambda: now if (now := version())["state"] == "AVAILABLE" and now["pid"] != first["pid"] else None,
            "the worker is replaced",
        )
        assert again["pid"] != first["pid"]
        wait_until(lambda: predicted() == {"predictions": [2.0]}, "REST answers")
        assert client.predict("scale", {"x": one})["y"] == 2
        assert ask(server.admin, "GET", "/v1/live").status == 503
        for connection in flood:
            connection.close()
        wait_until(lambda: ask(server.admin, "GET", "/v1/live").status == 200, "room for new clients")
        with server.client() as late:
            assert late.predict("scale", {"x": one})["y"] == 2
        rest.close()
        admin.close()


def test_the_kernel_keeps_the_reserve(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, hard = before
    try:
        descriptors.keep_reserve()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard - descriptors.RESERVE, hard)
        with descriptors.reserve():
            with descriptors.reserve():
                pass
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard - descriptors.RESERVE
        assert 16 <= descriptors.connections_max() <= max(16, hard - descriptors.RESERVE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Application:
    """Answers with the length of the body, or as long an answer as the path says; /wait waits to be released."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.released = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            self.waits.set()
            await asyncio.get_running_loop().run_in_executor(None, self.released.wait)
        asked = scope["path"].strip("/")
        body = b"x" * int(asked) if asked.isdecimal() else str(size).encode()
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def http_server(**bounds: float) -> Iterator[tuple[str, Application]]:
    application = Application()
    defaults: dict[str, Any] = {"connections_max": 10, "idle_s": 60.0}
    config = BoundedConfig(application, Bounds(**{**defaults, **bounds}), loop="uvloop", log_level="error")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", application
    finally:
        application.released.set()
        server.should_exit = True
        thread.join()


def said(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    connection.settimeout(30)
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            data += part
    return data


@pytest.mark.parametrize(
    ("bounds", "sent", "answer"),
    [
        ({"headers_s": 0.2}, b"GET / HTT", b"HTTP/1.1 408"),
        ({"headers_s": 0.2}, b"GET / HTTP/1.1\r\nhost: a\r\nx: y", b"HTTP/1.1 408"),
        ({"body_s": 0.2}, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf", b"HTTP/1.1 408"),
        ({"body_s": 0.2}, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", b"HTTP/1.1 408"),
        ({}, b"GET / HTTP/1.1\r\nx: " + b"y" * (HEADERS_BYTES_MAX + 1), b"HTTP/1.1 431"),
        (
            {},
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: yyyyyyyy\r\n" * HEADERS_BYTES_MAX,
            b"HTTP/1.1 431",
        ),
        ({"idle_s": 1.0}, b"", b""),
        ({"idle_s": 1.0}, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"HTTP/1.1 200"),
    ],
)
def test_what_does_not_come_is_not_waited_for(bounds: dict[str, float], sent: bytes, answer: bytes) -> None:
    with http_server(**bounds) as (address, _), connect(address) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        data = said(connection)
        # A reset may overtake the words.
        assert data.startswith(answer) or (not data and answer == b"HTTP/1.1 431"), data


def test_a_client_that_takes_no_answer_is_let_go() -> None:
    with http_server(answer_s=0.3) as (address, _), connect(address) as connection:
        connection.sendall(b"GET /50000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        with connect(address) as other:
            other.sendall(b"GET /7 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert said(other).endswith(b"xxxxxxx")
        process = psutil.Process()
        port = connection.getsockname()[1]

        def held() -> bool:
            mine = [c for c in process.net_connections("tcp") if c.raddr and c.raddr.port == port]
            return any(c.status == psutil.CONN_ESTABLISHED for c in mine)

        wait_until(lambda: not held(), "the server lets go")


def test_half_a_request_behind_one_that_runs_waits_its_turn() -> None:
    with http_server(headers_s=0.2, body_s=0.2) as (address, application), connect(address) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\nGET / HT")
        assert application.waits.wait(30)
        assert not threading.Event().wait(0.6)  # three times what half a request may take
        application.released.set()
        data = said(connection)  # the rest never comes
        assert data.startswith(b"HTTP/1.1 200")
        assert data.count(b"HTTP/1.1 408") == 1


def test_one_connection_too_many_hears_so() -> None:
    with http_server(connections_max=3) as (address, _), contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(address)) for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        with connect(address) as late:
            assert said(late).startswith(b"HTTP/1.1 503")
        held[0].close()
        wait_until(lambda: ask(address, "GET", "/5").status == 200, "room")


@contextlib.contextmanager
def grpc_server(ping_interval_s: float) -> Iterator[str]:
    """Its only method answers with the caller's address."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, options=connection_options(10, ping_interval_s))
        method = grpc.unary_unary_rpc_method_handler(lambda request, context: context.peer().encode())
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", {"peer": method}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def pinging(address: str) -> tuple[grpc.Channel, Callable[[], bytes]]:
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    channel = grpc.insecure_channel(address, options)
    call = channel.unary_unary("/S/peer")
    return channel, lambda: call(b"", timeout=30, wait_for_ready=True)


@pytest.mark.parametrize(("allowed_s", "stays"), [(0.1, True), (5.0, False)])
def test_pings_of_a_client_end_its_connection_only_if_they_come_too_often(allowed_s: float, stays: bool) -> None:
    with grpc_server(allowed_s) as address:
        channel, peer = pinging(address)
        with channel:
            first = peer()
            # Pings without a call, one a second; gRPC overlooks two that come too early.
            assert not threading.Event().wait(4.5)
            assert (peer() == first) is stays
