"""docs/api.md, made of docs/openapi.yaml: python -m tests.support.api_page > docs/api.md"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs/openapi.yaml"
PAGE = ROOT / "docs/api.md"

_INTRODUCTION = """\
# JSON and the admin API

What `corelane status`, `report` and `events` print with `--json`, and the HTTP API that they ask.
[openapi.yaml](openapi.yaml) says the same for machines; this page is made of it (`python -m tests.support.api_page`),
and tests hold a running server against it.

Times named `_s` are seconds, `_ms` milliseconds, `_bytes` bytes; `at_s` and `until_s` are seconds since 1970. Where a
key may be null, its meaning says what null is. Keys are always there unless their meaning says otherwise; new ones may
be added under the same `schema`.
"""

_SECTIONS = [
    (
        "corelane status --json",
        "The answer of `GET /v1/status`; with a model, or a version, `models` has only those.",
        [
            "Status",
            "Gateway",
            "ModelStatus",
            "VersionStatus",
            "Load",
            "LastMinute",
            "Parts",
            "Requests",
            "Assigned",
            "CoreChange",
        ],
    ),
    (
        "corelane report --json",
        "The answer of `GET /v1/report`. `corelane plan --json` prints the same form of a host that is not here;\n"
        "nothing is measured there.",
        [
            "Report",
            "ReportHost",
            "HardwareThread",
            "Share",
            "ReportGateways",
            "Smallest",
            "Unplanned",
            "ReportVersion",
            "Latencies",
        ],
    ),
    (
        "corelane events --json",
        "The answer of `GET /v1/events`. With `--follow` each event is a line of its own.",
        ["Events", "Event"],
    ),
]

_ERRORS = """\
Errors are `{"problems": [...]}`: 400 for what makes no sense, 403 for a request by another host's name or a POST that
is not said to be JSON, 404 for an unknown path, 405 for another method, 409 for what cannot be done, 413 for a body
that is too large. Nothing is done then.

Bodies and answers of orders. `POST /v1/apply` answers with a Status that has `changes` beside its keys; with `dry_run`
it answers with `changes` alone (Preview).
"""

_LISTS = {"Changes": "list of text"}
_ORDERS = ["TrafficOrder", "TrafficChanged", "ApplyOrder", "Preview"]
_OTHERS = ["Live", "Ready", "History", "Lines", "Line", "EarlierSplits", "EarlierSplit", "SplitEntry", "Problems"]


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    schemas = document["components"]["schemas"]
    parts = [_INTRODUCTION]
    for title, about, names in _SECTIONS:
        parts.append(f"## `{title}`\n{about}\n")
        parts += [_table(name, schemas[name]) for name in names]
    parts.append(f"## The admin API\n{document['info']['description']}")
    parts.append("\n".join(_endpoints(document)) + "\n")
    parts.append(_ERRORS)
    parts += [_table(name, schemas[name]) for name in _ORDERS]
    parts.append("Other answers.\n")
    parts += [_table(name, schemas[name]) for name in _OTHERS]
    return "\n".join(parts).rstrip("\n") + "\n"


def _table(name: str, schema: dict[str, Any]) -> str:
    rows = [f"**{name}**\n", "| key | type | meaning |", "| --- | --- | --- |"]
    for key, value in schema["properties"].items():
        rows.append(f"| `{key}` | {_type(value)} | {_meaning(value)} |")
    return "\n".join(rows) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"].rpartition("/")[2])
        return _LISTS.get(name, name)
    if "const" in schema:
        return f"always {schema['const']}"
    if "enum" in schema:
        return "text"
    if "oneOf" in schema:
        return " or ".join(_type(choice) for choice in schema["oneOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if kind == "object":
        values = schema["additionalProperties"]
        return f"object: name to {_type(values)}"
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)


def _meaning(schema: dict[str, Any]) -> str:
    text = schema["description"]
    if "enum" in schema and not all(choice in text for choice in schema["enum"]):
        choices = ", ".join(f"`{choice}`" if choice else "empty" for choice in schema["enum"])
        text = f"{text} One of {choices}."
    return str(text)


def _endpoints(document: dict[str, Any]) -> Iterator[str]:
    yield "| call | what | answers |"
    yield "| --- | --- | --- |"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = [resolved(document, each)["name"] for each in operation.get("parameters", [])]
            asked = [name for name in names if f"{{{name}}}" not in path]
            query = f"; `?{'=`, `?'.join(asked)}=`" if asked else ""
            codes = ", ".join(code for code in operation["responses"] if code != "403")
            summary = operation["summary"].rstrip(".")
            yield f"| `{method.upper()} {path}` | {summary}{query} | {codes} |"


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or the part that it refers to."""
    if "$ref" not in value:
        return value
    target: Any = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return dict(target)


if __name__ == "__main__":
    print(page(yaml.safe_load(DOCUMENT.read_text())), end="")
