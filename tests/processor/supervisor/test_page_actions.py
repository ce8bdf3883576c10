"""Who may change from a page whose calls go where, and who may not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from corelane.processor.supervisor.api.page_actions import refusal
from tests.support import onnx_models
from tests.support.http import Answer, ask
from tests.support.server import LISTEN, SPLIT, WITH_ACTIONS, WITH_KEYED_ACTIONS, WITH_REST, Server, serving

KEYS = "ops s3cret\nads other\n"
ORDER = {"model": "m", "action": "split", "shares": {"1": 60, "2": 40}}
PREVIEW = {**ORDER, "dry_run": True}


def started(folder: Path, listen: str) -> Iterator[Server]:
    for version in (1, 2):
        onnx_models.write_scale(folder / f"m/{version}", version)
    (folder / "keys").write_text(KEYS)
    with serving(folder, SPLIT, listen=listen) as server:
        for version in (1, 2):
            server.wait_state("m", version, "AVAILABLE")
        yield server


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("off"), LISTEN)


@pytest.fixture(scope="module")
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("keys"), WITH_KEYED_ACTIONS)


@pytest.fixture(scope="module")
def anybodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("open"), WITH_ACTIONS)


def post(server: Server, body: Any, path: str = "/v1/traffic", **headers: str) -> Answer:
    """As a page of the server does, unless `headers` say otherwise."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(server.admin, "POST", path, body, {"Origin": f"http://{server.admin}", **named})


def traffic(server: Server) -> list[float]:
    return [version["traffic"] for version in server.status()["models"][0]["versions"]]


@pytest.mark.parametrize(
    ("method", "headers", "problem"),
    [
        ("GET", {}, ""),
        ("GET", {"host": "evil.example"}, "not by another name"),
        ("GET", {"host": "[::1"}, "not by another name"),
        ("GET", {"host": "localhost:8502", "origin": "http://evil.example"}, ""),
        ("POST", {}, ""),
        ("POST", {"content-type": "application/json; charset=utf-8"}, ""),
        ("POST", {"content-type": "text/plain"}, "send JSON"),
        ("POST", {"content-type": "application/jsonp"}, "send JSON"),
        ("POST", {"content-type": ""}, "send JSON"),
        ("POST", {"host": "evil.example:8502"}, "not by another name"),
        ("POST", {"host": "evil.example", "origin": "http://evil.example"}, "not by another name"),
        ("POST", {"origin": "http://127.0.0.1:8502"}, ""),
        ("POST", {"origin": "http://127.0.0.1:9000"}, "a page of http://127.0.0.1:9000 may not post here"),
        ("POST", {"origin": "http://evil.example"}, "a page of http://evil.example may not post here"),
        ("POST", {"origin": "null"}, "a page of null may not post here"),
        ("POST", {"origin": "http://["}, "may not post here"),
        ("POST", {"sec-fetch-site": "cross-site"}, "a page of another site may not post here"),
    ],
)
def test_what_is_refused_before_it_is_looked_at(method: str, headers: dict[str, str], problem: str) -> None:
    usual = {"host": "127.0.0.1:8502", "content-type": "application/json"}
    said = refusal(method, "/v1/traffic", Headers({**usual, **headers}))
    assert problem in said
    assert bool(said) == bool(problem)


def test_by_default_a_page_only_looks(by_default: Server) -> None:
    assert by_default.status()["page_actions"] == "off"
    for body in (ORDER, PREVIEW):
        answer = post(by_default, body)
        assert answer.status == 403
        assert "listen.page_actions" in answer.json["problems"][0]
    assert ask(by_default.admin, "POST", "/v1/traffic", PREVIEW).status == 200, "a command may"
    assert traffic(by_default) == [95, 5]


def test_a_page_on_loopback_may_act_where_the_manifest_says_so(anybodys: Server) -> None:
    assert anybodys.status()["page_actions"] == "open"
    assert "60 %" in post(anybodys, PREVIEW).json["said"][0]
    assert traffic(anybodys) == [95, 5], "a preview changes nothing"
    assert post(anybodys, {**ORDER, "by": "somebody else"}).status == 200
    assert traffic(anybodys) == [60, 40]
    event = ask(anybodys.admin, "GET", "/v1/events?model=m").json["events"][-1]
    assert (event["kind"], event["by"]) == ("split", "the page, admin API from 127.0.0.1"), (
        "who, is not the page's to say"
    )
    assert post(anybodys, {"model": "m", "action": "rollback"}).status == 200
    assert traffic(anybodys) == [95, 5]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_other_sites_may_not(by_default: Server, anybodys: Server, headers: dict[str, str]) -> None:
    for server in (by_default, anybodys):
        assert post(server, ORDER, **headers).status == 403
        assert traffic(server) == [95, 5]


def test_probes_and_scrapers_may_know_the_host_by_any_name(by_default: Server) -> None:
    name = {"Host": "corelane.prod.svc:8502"}
    for path in ("/metrics", "/v1/live", "/v1/ready"):
        assert ask(by_default.admin, "GET", path, None, name).status == 200, path
    for path in ("/", "/v1/status", "/v1/logs", "/v1/events"):
        assert ask(by_default.admin, "GET", path, None, name).status == 403, path


def test_a_page_may_not_apply_a_manifest(anybodys: Server) -> None:
    body = {"manifest": "models: []", "base": "/", "source": "x", "yes": True}
    answer = post(anybodys, body, path="/v1/apply")
    assert (answer.status, "may not post to /v1/apply" in answer.json["problems"][0]) == (403, True)
    assert anybodys.version("m", 1)["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        ({}, 401, "send an API key"),
        ({"Authorization": "Bearer wrong"}, 401, "not known"),
        ({"Authorization": "Bearer other"}, 403, "listen.auth.managers"),
        ({"x_api_key": "other"}, 403, "listen.auth.managers"),
        ({"Authorization": "Bearer s3cret"}, 200, ""),
    ],
)
def test_with_keys_only_managers_act(with_keys: Server, headers: dict[str, str], status: int, problem: str) -> None:
    assert with_keys.status()["page_actions"] == "key"
    answer = post(with_keys, PREVIEW, **headers)
    assert answer.status == status
    assert problem in answer.json.get("problems", [""])[0]


def test_the_event_names_the_manager(with_keys: Server) -> None:
    assert post(with_keys, ORDER, Authorization="Bearer s3cret").status == 200
    event = ask(with_keys.admin, "GET", "/v1/events?model=m").json["events"][-1]
    assert event["by"] == "ops, the page, admin API from 127.0.0.1"


@pytest.mark.parametrize("body", [[], "x", 3, None, {"model": "m"}, {"model": "m", "action": "promote"}])
def test_bodies_that_make_no_sense(anybodys: Server, body: Any) -> None:
    answer = ask(
        anybodys.admin,
        "POST",
        "/v1/traffic",
        body if body is not None else b"null",
        {"Origin": f"http://{anybodys.admin}", "Content-Type": "application/json"},
    )
    assert answer.status == 400
    assert answer.json["problems"]


def test_keys_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"listen.auth.api_keys: .*keys"),
        serving(tmp_path, SPLIT, listen=WITH_KEYED_ACTIONS),
    ):
        pass


def test_pages_of_other_sites_change_nothing_by_rest(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 1)
    with serving(tmp_path, "models: [{name: scale, path: scale}]", listen=WITH_REST) as server:
        path = "/v2/repository/models/scale/unload"
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": f"http://{server.http}"},
        ):
            answer = ask(server.http, "POST", path, {}, headers)
            assert (answer.status, answer.json["error"]) == (
                403,
                "a page of another site may not change what is served",
            )
        assert server.version("scale", 1)["state"] == "AVAILABLE"
        assert ask(server.http, "POST", path, {}, {"Origin": f"http://{server.http}"}).status == 200
