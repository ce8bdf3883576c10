"""docs/openapi.yaml against the admin API: its routes, its words, and what a running server answers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from starlette.routing import Route

from corelane.processor.channel.methods import Assignment
from corelane.processor.loading.phases import LoadPhase
from corelane.processor.manifest import Manifest
from corelane.processor.manifest.text.files import BYTES_MAX
from corelane.processor.supervisor.api.admin import application
from corelane.processor.supervisor.events import Kind
from corelane.processor.supervisor.lifecycle import Standing
from corelane.processor.supervisor.views.counts import ENDS
from tests.support import api_page, onnx_models
from tests.support.client import PlainClient
from tests.support.http import Answer, ask
from tests.support.server import LISTEN, WITH_REST, Server, serving, wait_until

DOCUMENT: dict[str, Any] = yaml.safe_load(api_page.DOCUMENT.read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    return api_page.resolved(DOCUMENT, value)


def check(value: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def problems_of(value: Any, name: str) -> list[str]:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


def every(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key and value in a document, however deep."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from every(item)
    elif isinstance(value, list):
        for item in value:
            yield from every(item)


def test_the_document_holds_together() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    used = set()
    for key, item in every(DOCUMENT):
        assert isinstance(key, str) and item is not None, f"{key}: a text with a comma or a colon wants quotes"
        if key == "$ref":
            assert resolved({"$ref": item})
            used.add(item)
    for kind, members in DOCUMENT["components"].items():
        for name in members:
            assert f"#/components/{kind}/{name}" in used, f"nobody needs {name}"
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert set(schema.get("required", ())) <= set(schema.get("properties", schema.get("required", ()))), name


def test_the_page_is_made_of_it() -> None:
    assert api_page.PAGE.read_text() == api_page.page(DOCUMENT), "python -m tests.support.api_page > docs/api.md"
    text = api_page.PAGE.read_text()
    for name, schema in SCHEMAS.items():
        for key in schema.get("properties", ()):
            assert f"| `{key}` |" in text, f"{name}.{key}"


def test_every_route_is_in_it_and_no_other() -> None:
    supervisor: Any = SimpleNamespace(manifest=Manifest(models=()))
    lines: Any = None
    served = {
        (route.path.replace(":path}", "}"), method)
        for route in application(supervisor, lines).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    written = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert written == served


def test_its_words_are_the_servers() -> None:
    version = SCHEMAS["VersionStatus"]["properties"]
    assert version["state"]["enum"] == [standing.value for standing in Standing]
    assert SCHEMAS["Event"]["properties"]["kind"]["enum"] == [kind.value for kind in Kind]
    assert SCHEMAS["Load"]["properties"]["phase"]["enum"] == [phase.value for phase in LoadPhase]
    assert list(SCHEMAS["Assigned"]["properties"]) == [assignment.name.lower() for assignment in Assignment]
    assert set(ENDS) < set(SCHEMAS["Requests"]["properties"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With versions that serve, one that is a shadow, one that failed, one that waits, and a folder that is not."""
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2, 3):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    (folder / "broken/1").mkdir(parents=True)
    (folder / "broken/1/model.onnx").write_bytes(b"no model")
    onnx_models.write_scale(folder / "late/1", 1)
    (folder / "late/1/rest.onnx.part").write_bytes(b"")
    models = (
        "{name: scale, path: scale, slo_p99_ms: 50, versions: [{version: 1, traffic: 90, label: stable}, "
        "{version: 2, role: ab, traffic: 10}, {version: 3, role: ab, shadow: 100}]}",
        "{name: broken, path: broken}",
        "{name: late, path: late}",
        "{name: gone, path: nowhere}",
    )
    manifest = f"host: {{gateways: 1}}\nmodels: [{', '.join(models)}]"
    with serving(folder, manifest, listen=WITH_REST, ready=False) as running:
        for version in (1, 2, 3):
            running.wait_state("scale", version, "AVAILABLE")
        running.wait_state("broken", 1, "FAILED")
        running.wait_state("late", 1, "WAITING")
        with PlainClient(running.grpc) as client:
            for _ in range(20):
                client.predict("scale", {"x": [1.0]})
        wait_until(lambda: running.version("scale", 3)["shadow_answers"].get("different"), "a shadow's answer")
        wait_until(lambda: running.status()["core_changes"], "the core allocation")
        yield running


def check_answer(path: str, method: str, answer: Answer) -> None:
    """That the document has this answer."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status) in responses, f"{method} {path}: {answer.status} {answer.body[:300]!r}"
    ((kind, content),) = resolved(responses[str(answer.status)])["content"].items()
    assert answer.headers["content-type"].partition(";")[0] == kind
    if kind == "application/json":
        check(answer.json, content["schema"])


ASKED = [
    (path, path.format(model=model) + query)
    for path, methods in DOCUMENT["paths"].items()
    if "get" in methods
    for model in (("scale", "gone", "nothing") if "{model}" in path else ("",))
    for query in ("", "?model=scale&version=1&limit=3&after=1", "?limit=many")
]


@pytest.mark.parametrize(("path", "asked"), ASKED)
def test_answers_are_as_it_says(server: Server, path: str, asked: str) -> None:
    check_answer(path, "get", ask(server.admin, "GET", asked))


def test_states_of_the_fixture_were_seen(server: Server) -> None:
    """What the answers above were checked with."""
    status = server.status()
    versions = [version for model in status["models"] for version in model["versions"]]
    assert {version["state"] for version in versions} == {"AVAILABLE", "FAILED", "WAITING"}
    assert {version["pid"] is None for version in versions} == {True, False}
    assert status["not_ready"].keys() == {"broken", "late", "gone"} and not status["ready"]
    assert ask(server.admin, "GET", "/v1/ready").status == 503
    assert ask(server.admin, "GET", "/v1/report").json["versions"]


@pytest.mark.parametrize("change", ["add", "drop", "type"])
def test_the_schemas_are_strict(server: Server, change: str) -> None:
    status = server.status()
    version = status["models"][0]["versions"][0]
    assert not problems_of(status, "Status") and not problems_of(version, "VersionStatus")
    if change == "add":
        version["surprise"] = 1
    elif change == "drop":
        del version["engine"]
    else:
        version["restarts"] = "none"
    assert problems_of(version, "VersionStatus") and problems_of(status, "Status")


@pytest.mark.parametrize("command", ["status", "report", "events"])
def test_commands_print_the_same(server: Server, command: str) -> None:
    printed = subprocess.check_output(
        [sys.executable, "-m", "corelane", command, "--json", "--admin", server.admin], text=True, timeout=60
    )
    schema = DOCUMENT["paths"][f"/v1/{command}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    check(json.loads(printed), schema)


EXAMPLES = [
    (path, name, example["value"])
    for path, methods in DOCUMENT["paths"].items()
    if "post" in methods
    for name, example in methods["post"]["requestBody"]["content"]["application/json"]["examples"].items()
]


def body_schema(path: str) -> dict[str, Any]:
    schema: dict[str, Any] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize(("path", "name", "body"), EXAMPLES)
def test_examples_of_orders(server: Server, path: str, name: str, body: dict[str, Any]) -> None:
    check(body, body_schema(path))
    if "manifest" in body:  # `listen` cannot change while the server runs
        body = {**body, "manifest": server.manifest.read_text().split("models:")[0] + body["manifest"]}
    answer = ask(server.admin, "POST", path, body)
    check_answer(path, "post", answer)
    assert answer.status == (409 if name == "rollback" else 200), answer.json  # nothing was promoted yet


def test_orders_that_are_carried_out(tmp_path: Path) -> None:
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"scale/{version}", version)
    models = "models: [{name: scale, path: scale, versions: [{version: 1, traffic: 100}, {version: 2, role: ab}]}]"
    with serving(tmp_path, models) as server:
        for version in (1, 2):
            server.wait_state("scale", version, "AVAILABLE")
        orders: list[tuple[str, dict[str, Any]]] = [
            ("/v1/traffic", {"action": "split", "model": "scale", "shares": {"1": 60, "2": 40}, "by": "ops"}),
            ("/v1/traffic", {"action": "promote", "model": "scale", "version": 2}),
            ("/v1/traffic", {"action": "rollback", "model": "scale", "back": None}),
        ]
        for path, body in orders:
            check(body, body_schema(path))
            answer = ask(server.admin, "POST", path, body)
            check_answer(path, "post", answer)
            assert answer.status == 200, answer.json
        earlier = ask(server.admin, "GET", "/v1/traffic/scale")
        check_answer("/v1/traffic/{model}", "get", earlier)
        assert earlier.json["earlier"], "a split to go back to"
        events = ask(server.admin, "GET", "/v1/events").json["events"]
        assert any(event["kind"] == "split" and event["by"].startswith("ops, ") for event in events)
        body = {"manifest": server.manifest.read_text(), "base": str(tmp_path), "source": "test.yaml"}
        answer = ask(server.admin, "POST", "/v1/apply", body)
        check_answer("/v1/apply", "post", answer)
        assert answer.json["schema"] == 1 and answer.json["changes"] == []
        answer = ask(server.admin, "POST", "/v1/apply", {**body, "manifest": LISTEN + "models: []"})
        check_answer("/v1/apply", "post", answer)
        assert (answer.status, "--yes" in answer.json["problems"][0]) == (409, True)
        check_answer("/v1/apply", "post", ask(server.admin, "POST", "/v1/apply", {**body, "manifest": "model: 1"}))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/traffic", {"model": "scale"}, 400),
        ("/v1/traffic", {"action": "explode", "model": "scale"}, 400),
        ("/v1/traffic", {"action": "promote", "model": "scale"}, 400),
        ("/v1/traffic", {"action": "split", "model": "scale"}, 400),
        ("/v1/traffic", {"action": "split", "model": "scale", "shares": {"1": "all"}}, 400),
        ("/v1/traffic", {"action": "promote", "model": "nothing", "version": 1}, 409),
        ("/v1/traffic", b"{", 400),
        ("/v1/apply", {"manifest": "models: []"}, 400),
        ("/v1/apply", [], 400),
        ("/v1/apply", b" " * (2 * BYTES_MAX + 1), 413),
    ],
)
def test_orders_that_are_refused(server: Server, path: str, body: Any, status: int) -> None:
    answer = ask(server.admin, "POST", path, body, {"Content-Type": "application/json"})
    check_answer(path, "post", answer)
    assert answer.status == status, answer.json
    if status == 400 and not isinstance(body, bytes):
        with pytest.raises(Exception, match=r"is a required property|is not one of|is not of type"):
            check(body, body_schema(path))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/traffic", {"Content-Type": "text/plain"}, 403),
        ("GET", "/v1/status", {"Host": "example.com"}, 403),
        ("GET", "/v1/nothing", {}, 404),
        ("DELETE", "/v1/status", {}, 405),
    ],
)
def test_other_errors_have_the_same_form(
    server: Server, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(server.admin, method, path, b"{}" if method == "POST" else None, headers)
    assert (answer.status, problems_of(answer.json, "Problems")) == (status, [])
