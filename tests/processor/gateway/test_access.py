"""Who may call, by what proof, and how much: TLS, keys, tokens, limits, over gRPC and REST."""

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from corelane.processor.control.gateway_settings import AuthSettings, JwtSettings, LimitsSettings
from corelane.processor.errors import (
    Overloaded,
    PermissionRefused,
    RequestError,
    StartError,
    Unauthenticated,
    Unavailable,
)
from corelane.processor.gateway.access import Access
from tests.support import onnx_models
from tests.support.certificates import Authority
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, wait_until

MODELS = "models: [{name: scale, path: scale}]"


def headers(**found: str) -> Callable[[str], str | None]:
    return {name.replace("_", "-"): value for name, value in found.items()}.get


def keys_file(folder: Path) -> Path:
    path = folder / "keys"
    digest = hashlib.sha256(b"second").hexdigest()
    path.write_text(f"# who calls\nads first   # plain\nfeeds sha256:{digest}\n\n")
    return path


def test_keys(tmp_path: Path) -> None:
    access = Access(AuthSettings(api_keys=keys_file(tmp_path), managers=("feeds",)))
    assert not access.is_open
    assert access.identify(headers(x_api_key="first"), "peer", manages=False) == "ads"
    assert access.identify(headers(authorization="Bearer second"), "peer", manages=True) == "feeds"
    with pytest.raises(PermissionRefused, match="client ads may not change"):
        access.identify(headers(x_api_key="first"), "peer", manages=True)
    for wrong in ({}, {"authorization": "Basic first"}, {"x_api_key": ""}):
        with pytest.raises(Unauthenticated, match="send an API key or a token"):
            access.identify(headers(**wrong), "peer", manages=False)
    with pytest.raises(Unauthenticated, match="is not known"):
        access.identify(headers(x_api_key="third"), "peer", manages=False)


def test_keys_change_with_their_file(tmp_path: Path) -> None:
    path = keys_file(tmp_path)
    access = Access(AuthSettings(api_keys=path))
    path.write_text("ads third\n")

    def known(key: str) -> bool:
        try:
            return access.identify(headers(x_api_key=key), "peer", manages=False) == "ads"
        except Unauthenticated:
            return False

    wait_until(lambda: known("third"), "the new key")
    assert not known("first"), "a key that is gone is gone"
    path.write_text("broken\n")
    time.sleep(1.1)
    assert known("third"), "a broken file changes nothing"


@pytest.mark.parametrize("text", ["one two three\n", "one sha256:zz\n", "one sha256:00\n"])
def test_files_of_keys_that_are_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(StartError, match=r"listen\.auth\.api_keys"):
        Access(AuthSettings(api_keys=tmp_path / "keys"))


def test_tokens(tmp_path: Path) -> None:
    secret = b"a secret of at least thirty-two bytes"
    (tmp_path / "secret").write_bytes(secret)
    settings = JwtSettings(key=tmp_path / "secret", algorithms=("HS256",), issuer="us", audience="corelane")
    access = Access(AuthSettings(jwt=settings))

    def token(key: bytes = secret, **changes: Any) -> str:
        claims = {"sub": "ads", "iss": "us", "aud": "corelane", "exp": time.time() + 60, **changes}
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, "HS256")

    assert access.identify(headers(authorization=f"bearer {token()}"), "peer", manages=False) == "ads"
    none = jwt.encode({"sub": "ads", "exp": time.time() + 60}, None, "none")  # type: ignore[arg-type]
    wrong = [
        token(b"another secret of thirty-two bytes, too"),
        token(exp=time.time() - 60),
        token(exp=None),
        token(sub=None),
        token(iss="them"),
        token(aud="others"),
        none,
        "no.token.atall",
    ]
    for one in wrong:
        with pytest.raises(Unauthenticated):
            access.identify(headers(authorization=f"Bearer {one}"), "peer", manages=False)


def test_limits() -> None:
    now = [0.0]
    access = Access(limits=LimitsSettings(requests_per_s=2.0, in_flight=3), clock_s=lambda: now[0])
    assert access.identify(headers(), "10.0.0.1", manages=True) == "10.0.0.1", "without auth a client is its address"
    for _ in range(2):
        access.admit("a")
    with pytest.raises(Overloaded, match="client a is over 2 calls a second"):
        access.admit("a")
    access.admit("b")
    now[0] = 0.5
    access.admit("a")
    now[0] = 100.0
    with pytest.raises(Overloaded, match="client a has 3 calls under way"):
        access.admit("a")
    access.leave("a")
    access.admit("a")


def test_memory_of_clients_is_bounded() -> None:
    access = Access(limits=LimitsSettings(in_flight=1))
    access.admit("busy")
    for number in range(25_000):
        access.admit(str(number))
        access.leave(str(number))
    assert len(access._clients) <= 10_000
    with pytest.raises(Overloaded):
        access.admit("busy")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    return tmp_path


@pytest.fixture
def secured(folder: Path) -> Iterator[Server]:
    keys_file(folder)
    auth = ", auth: {api_keys: keys, managers: [feeds]}, limits: {in_flight: 100}}"
    with serving(folder, MODELS, listen=WITH_REST.replace("}", auth)) as server:
        yield server


def predict(server: Server, **how: Any) -> list[float]:
    with Client(server.grpc, **how) as client:
        found: list[float] = client.predict("scale", {"x": [1.0]}, timeout_s=20)["y"].tolist()
        return found


def test_keys_over_grpc_and_rest(secured: Server) -> None:
    assert predict(secured, api_key="first") == [2.0]
    for how in ({}, {"api_key": "wrong"}):
        with pytest.raises(Unauthenticated):
            predict(secured, **how)
    with grpc.insecure_channel(secured.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="scale"))
        assert health.status == health_pb2.HealthCheckResponse.SERVING, "a prober has no key"
        for method in ("ServerLive", "ServerReady", "ModelReady"):
            probe = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            assert probe(b"\n\x05scale" if method == "ModelReady" else b"") == b"\x08\x01", method
        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        for key, code in (("first", "PERMISSION_DENIED"), ("second", "INVALID_ARGUMENT"), ("no", "UNAUTHENTICATED")):
            with pytest.raises(grpc.RpcError) as found:
                load(b"", metadata=[("x-api-key", key)])
            assert found.value.code().name == code
        for method in ("ModelConfig", "ModelStatistics", "TraceSetting", "LogSettings"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            with pytest.raises(grpc.RpcError) as found:
                call(b"")
            assert found.value.code().name == "UNAUTHENTICATED"
            assert call(b"\n\x05scale" if method == "ModelConfig" else b"", metadata=[("x-api-key", "first")])
    body = {"instances": [1]}
    assert ask(secured.http, "POST", "/v1/models/scale:predict", body, {"X-Api-Key": "first"}).status == 200
    assert ask(secured.http, "POST", "/v1/models/scale:predict", body).status == 401
    for path in (
        "/v1/models",
        "/v2/models/scale/config",
        "/v2/models/stats",
        "/v2/models/scale/versions/1/stats",
        "/v2/trace/setting",
        "/v2/models/scale/trace/setting",
        "/v2/logging",
    ):
        assert ask(secured.http, "GET", path).status == 401, path
        assert ask(secured.http, "GET", path, None, {"X-Api-Key": "first"}).status == 200, path
    path = "/v2/repository/models/scale/unload"
    assert ask(secured.http, "POST", path, None, {"X-Api-Key": "first"}).status == 403
    assert ask(secured.http, "POST", path, None, {"Authorization": "Bearer second"}).status == 200
    assert ask(secured.http, "GET", "/v2/health/ready").status == 200
    assert ask(secured.http, "GET", "/v2/models/nothing/ready").status == 400
    assert ask(secured.http, "GET", "/v1/models/scale").status == 401


def by_https(server: Server, context: ssl.SSLContext) -> bytes:
    host, _, port = server.http.partition(":")
    with (
        socket.create_connection((host, int(port)), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        certificate = connection.getpeercert(binary_form=True)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert certificate is not None
        return certificate


def test_tls_and_new_certificates_without_a_restart(folder: Path, authority: Authority) -> None:
    certificate, key = authority.write("server")
    listen = WITH_REST.replace("}", f", tls: {{certificate: {certificate}, key: {key}}}}}")
    with serving(folder, MODELS, listen=listen) as server:
        assert predict(server, ca=authority.file) == [2.0]
        with pytest.raises(Unavailable), Client(server.grpc) as client:
            client.predict("scale", {"x": [1.0]}, timeout_s=5)
        context = ssl.create_default_context(cafile=authority.file)
        before = by_https(server, context)
        other = Authority(certificate.parent / "other")
        # The new certificate is there before its key: what was served before still is.
        kept = certificate.read_bytes()
        certificate.write_bytes(other.write("half")[0].read_bytes())
        wait_until(lambda: "the certificate stays as it was" in server.log.read_text(), "the look at it")
        assert by_https(server, context) == before
        certificate.write_bytes(kept)
        for old, new in zip((certificate, key), other.write("server"), strict=True):
            new.replace(old)
            os.utime(old)
        new_context = ssl.create_default_context(cafile=other.file)

        def renewed() -> bool:
            try:
                return by_https(server, new_context) != before
            except (ssl.SSLError, AssertionError):
                return False

        wait_until(renewed, "the new certificate by REST")
        wait_until(lambda: _calls(lambda: predict(server, ca=other.file)), "the new certificate by gRPC")
        with pytest.raises(RequestError):
            predict(server, ca=authority.file)


def _calls(call: Callable[[], Any]) -> bool:
    try:
        call()
    except RequestError:
        return False
    return True


def test_mutual_tls(folder: Path, authority: Authority) -> None:
    certificate, key = authority.write("server2")
    clients = Authority(folder / "clients", "clients")
    own, own_key = clients.write("ads")
    tls = f", tls: {{certificate: {certificate}, key: {key}, client_ca: {clients.file}}}}}"
    with serving(folder, MODELS, listen=WITH_REST.replace("}", tls)) as server:
        assert predict(server, ca=authority.file, certificate=own, key=own_key) == [2.0]
        stranger, stranger_key = Authority(folder / "strangers", "strangers").write("ads")
        for how in ({}, {"certificate": stranger, "key": stranger_key}):
            with pytest.raises(RequestError):
                predict(server, ca=authority.file, **how)
        context = ssl.create_default_context(cafile=authority.file)
        with pytest.raises((ssl.SSLError, AssertionError, ConnectionResetError)):
            by_https(server, context)
        context.load_cert_chain(own, own_key)
        assert by_https(server, context)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("tls: {certificate: nothing, key: nothing}", "cannot listen on 127.0.0.1:"),
        ("auth: {api_keys: nothing}", "listen.auth.api_keys"),
        ("auth: {jwt: {key: nothing}}", "listen.auth.jwt.key"),
    ],
)
def test_files_that_are_not_there_stop_the_start(folder: Path, settings: str, message: str) -> None:
    manifest = folder / "manifest.yaml"
    manifest.write_text(WITH_REST.replace("}", f", {settings}}}") + MODELS)
    command = [sys.executable, "-m", "corelane", "serve", str(manifest)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, message in result.stderr.splitlines()[-1]) == (2, True), result.stderr
