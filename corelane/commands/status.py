"""`corelane status`."""

import argparse
import json
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, call_admin, say, table
from processor.logs import escaped
from processor.percentages import percent

_DESCRIPTION = """\
Lists the versions of a running server: state, engine, precision, sessions, requests, latency, memory, the last
error, and what of a model is not served. --json has more: why an engine and a precision were chosen, and which
instruction set oneDNN takes (onednn_isa).

  corelane status
  corelane status --json | jq '.models[].versions[].state'
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "status", run, "list models, versions and states", _DESCRIPTION)
    add_admin(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    answer = call_admin(options.admin, "/v1/status")
    say(json.dumps(answer, indent=2) if options.json else render(answer))
    return 0


def render(status: dict[str, Any]) -> str:
    """The status as text."""
    header = [
        "model",
        "version",
        "state",
        "role",
        "label",
        "traffic",
        "engine",
        "precision",
        "sessions",
        "pid",
        "answered",
        "failed",
    ]
    header += ["p50 ms", "p99 ms", "MiB"]
    rows, notes = [], []
    for model in status["models"]:
        for version in model["versions"]:
            rows.append(_row(model["name"], version))
            if version["error"]:
                notes.append(f"{model['name']}/{version['version']}: {version['error']}")
            notes += [f"{model['name']}/{version['version']}: {note}" for note in version.get("notes", ())]
        if not model["versions"]:
            rows.append([model["name"], None, "no version", *[None] * (len(header) - 3)])
        if model["problem"]:
            notes.append(f"{model['name']}: {model['problem']}")
        notes += [f"{model['name']}: {missing}" for missing in model["missing_arms"]]
        notes += [f"{model['name']}: {duplicate}" for duplicate in model.get("duplicates", ())]
    if status["gateway_error"]:
        up, expected = sum(gateway["ready"] for gateway in status["gateways"]), status["gateways_expected"]
        now = "another took its place" if up == expected else f"{up} of {expected} are up, the rest is started again"
        notes.append(f"a gateway {status['gateway_error']}; {now}")
    if status["manifest_error"]:
        notes.append(f"the changed manifest is not applied: {status['manifest_error']}")
    ready = "ready" if status["ready"] else "not ready"
    if not status["ready"]:
        notes += [f"not ready: {name}: {reason}" for name, reason in status["not_ready"].items()]
    first = f"gRPC on {status['grpc']}, {ready}, {len(status['gateways'])} gateways, up {status['uptime_s']:.0f} s"
    return "\n".join([first, "", table(header, rows), *([""] if notes else []), *map(escaped, notes)])


def _row(model: str, version: dict[str, Any]) -> list[Any]:
    row = [model, version["version"], version["state"], version["role"], version["label"]]
    shadow, traffic = version["shadow"], version["traffic"]
    row.append(f"shadow {percent(shadow)}%" if shadow else None if traffic is None else f"{percent(traffic)}%")
    if version["pid"] is None:
        return [*row, *[None] * 9]
    requests = version["requests"]
    failed = sum(requests[name] for name in ("failed", "expired", "cancelled", "rejected"))
    row += [version["engine"], version["precision"], version["sessions"], version["pid"], requests["answered"], failed]
    row += [None if version[name] is None else f"{version[name]:.2f}" for name in ("p50_ms", "p99_ms")]
    row.append(None if version["memory_bytes"] is None else version["memory_bytes"] >> 20)
    return row
