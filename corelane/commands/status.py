"""`corelane status`."""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType

from corelane.commands.common import (
    add_admin,
    add_command,
    add_json,
    add_model,
    add_watch,
    add_wide,
    call_admin,
    model_and_version,
    query,
)
from corelane.commands.events import lines_of
from corelane.processor.errors import ControlError
from corelane.processor.loading.phases import describe
from corelane.processor.logs.lines import escaped
from corelane.scheduler.numbers import figure, percent
from corelane.terminal import Column, age, clock, grid, plain, repeat, say, show, state_style

_DESCRIPTION = """\
Lists the versions of a running server with state, share of the calls, outcome of its calls, latency and age. Problems
follow below the table, each with its time. With a model or a version, such as ctr/3, prints every detail and reason.

States: WAITING for its files, QUEUED to be loaded, LOADING (with the phase), AVAILABLE, UNLOADING, RESTARTING after a
crash, FAILED to load, RETIRED (it was served, and the manifest no longer asks for it).

  corelane status
  corelane status ctr/3
  corelane status -o wide --watch
  corelane status --json | jq '.models[].versions[].state'
"""
_EVENTS = 8
_FAILED = ("failed", "expired", "cancelled", "rejected", "interrupted")


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "status", run, "list models, versions and states", _DESCRIPTION)
    add_model(parser, version=True)
    add_wide(parser)
    add_watch(parser)
    add_admin(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    if options.json:
        say(json.dumps(_asked(options)[0], indent=2))
        return 0
    if options.watch is not None:
        repeat(options.watch, lambda: _drawn(options))
    else:
        show(_drawn(options))
    return 0


def render(status: dict[str, Any]) -> str:
    """The status as plain text, with all columns."""
    return plain(_overview(status, wide=True))


def _asked(options: argparse.Namespace) -> tuple[dict[str, Any], int | None]:
    """The status, of the model and the version that is asked for."""
    status = call_admin(options.admin, "/v1/status")
    name, version = model_and_version(options.model, [model["name"] for model in status["models"]])
    if name:
        status["models"] = [model for model in status["models"] if model["name"] == name]
    if version is not None:
        model = status["models"][0]
        model["versions"] = [entry for entry in model["versions"] if entry["version"] == version]
        if not model["versions"]:
            raise ControlError(f"there is no version {version} of model {name}")
    return status, version


def _drawn(options: argparse.Namespace) -> RenderableType:
    status, version = _asked(options)
    wide = options.output == "wide"
    if options.model is None:
        return _overview(status, wide)
    model = status["models"][0]
    asked = query("/v1/events", model=model["name"], version=version, limit=_EVENTS)
    return _details(status, model, call_admin(options.admin, asked)["events"], wide)


def _overview(status: dict[str, Any], wide: bool) -> RenderableType:
    notes = list(_notes(status))
    parts: list[RenderableType] = [_first_line(status), "", _table(status["models"], wide)]
    return Group(*parts, *([""] if notes else []), *map(escaped, notes))


def _details(status: dict[str, Any], model: dict[str, Any], events: list[dict[str, Any]], wide: bool) -> RenderableType:
    parts: list[RenderableType] = [_first_line(status), ""]
    slo = model["slo_p99_ms"]
    parts.append(escaped(f"{model['name']}: {model['path']}{'' if slo is None else f', p99 within {slo:g} ms'}"))
    parts += ["", _table([model], wide)]
    for version in model["versions"]:
        parts += ["", escaped(f"{model['name']}/{version['version']}"), *map(escaped, _facts(version))]
    notes = list(_notes({**status, "models": [model]}))
    parts += ["", *map(escaped, notes)] if notes else []
    parts += ["", "last events (all: `corelane events`):", *lines_of(events)] if events else []
    return Group(*parts)


def _first_line(status: dict[str, Any]) -> str:
    ready = "ready" if status["ready"] else "not ready"
    http = f", REST on {status['http']}" if status["http"] else ""
    up = age(status["uptime_s"])
    return f"gRPC on {status['grpc']}{http}, {ready}, {len(status['gateways'])} gateways, up {up}"


def _table(models: list[dict[str, Any]], wide: bool) -> RenderableType:
    none = {"version": None, "state": "no version", "pid": None, "traffic": None, "shadow": None, "load": None}
    rows = [(model, version) for model in models for version in model["versions"] or [none]]
    return grid(_COLUMNS, rows, wide)


def _of(key: str) -> Any:
    return lambda row: row[1].get(key)


def _state(row: Any) -> str:
    version = row[1]
    state, load, wait_s = version["state"], version["load"], version.get("retry_in_s")
    if load is not None:
        return f"{state} ({describe(load['phase'], load['signature'])}, {age(load['since_s'])})"
    if wait_s is not None:
        return f"{state} (again in {wait_s:.0f} s)"
    return str(state)


def _share(row: Any) -> str | None:
    shadow, traffic = row[1]["shadow"], row[1]["traffic"]
    return f"shadow {percent(shadow)}%" if shadow else None if traffic is None else f"{percent(traffic)}%"


def _requests(*names: str) -> Any:
    return lambda row: sum(row[1]["requests"][name] for name in names) if row[1]["pid"] is not None else None


def _ms(key: str) -> Any:
    return lambda row: None if row[1].get(key) is None else figure(row[1][key])


def _age(row: Any) -> str | None:
    since_s = row[1].get("available_since_s")
    return None if since_s is None else age(max(0.0, time.time() - since_s))


def _mib(row: Any) -> int | None:
    memory = row[1].get("memory_bytes")
    return None if memory is None else memory >> 20


_COLUMNS = [
    Column("model", lambda row: row[0]["name"]),
    Column("version", _of("version")),
    Column("state", _state, style=lambda row: state_style(row[1]["state"])),
    Column("role", _of("role"), wide=True),
    Column("label", _of("label"), wide=True),
    Column("traffic", _share),
    Column("engine", _of("engine"), wide=True),
    Column("precision", _of("precision"), wide=True),
    Column("sessions", _of("sessions"), wide=True),
    Column("pid", _of("pid"), wide=True),
    Column("restarts", _of("restarts"), wide=True),
    Column("answered", _requests("answered")),
    Column("failed", _requests(*_FAILED), style=lambda row: "red" if _requests(*_FAILED)(row) else ""),
    Column("p50 ms", _ms("p50_ms"), wide=True),
    Column("p99 ms", _ms("p99_ms")),
    Column("MiB", _mib, wide=True),
    Column("age", _age),
]


def _notes(status: dict[str, Any]) -> Iterator[str]:
    """What is wrong, or not as one might expect."""
    for model in status["models"]:
        for version in model["versions"]:
            name = f"{model['name']}/{version['version']}"
            if version["error"]:
                at_s = version["error_at_s"]
                yield f"{name}: {'' if at_s is None else f'at {clock(at_s)}: '}{version['error']}"
            yield from (f"{name}: {note}" for note in version.get("notes", ()))
        if model["problem"]:
            yield f"{model['name']}: {model['problem']}"
        yield from (f"{model['name']}: {missing}" for missing in model["missing_arms"])
        yield from (f"{model['name']}: {duplicate}" for duplicate in model.get("duplicates", ()))
    if status["gateway_error"]:
        up, expected = sum(gateway["ready"] for gateway in status["gateways"]), status["gateways_expected"]
        yield f"a gateway {status['gateway_error']}; {up} of {expected} are up, the rest is started again"
    if status["manifest_error"]:
        yield f"the changed manifest is not applied: {status['manifest_error']}"
    said = {f"version {v['version']}: {v['error']}" for m in status["models"] for v in m["versions"]}
    said |= {model["problem"] for model in status["models"]}
    for name, reason in status["not_ready"].items() if not status["ready"] else ():
        yield f"not ready: {name}{'' if reason in said else f': {reason}'}"


def _facts(version: dict[str, Any]) -> Iterator[str]:
    """All that is known of a version, a line each."""
    if version["pid"] is None:
        yield f"  {_state((None, version))}"
        return
    yield f"  engine       {version['engine']}: {version['engine_why']}"
    yield f"  precision    {version['precision']}: {version['precision_why']} (oneDNN: {version['onednn_isa']})"
    sessions, threads = version["sessions"], version["threads_per_session"]
    yield f"  sessions     {sessions}, of {threads} thread(s) each, in process {version['pid']}"
    yield f"  loaded in    {version['load_s']:.1f} s; {version['restarts']} restarts after crashes"
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in version["requests"].items() if number)
    yield f"  requests     {counts or 'none yet'}"
    chosen = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in version["assigned"].items() if number)
    yield f"  chosen as    {chosen or 'never yet'}"
    if version["shadow_answers"]:
        shadows = ", ".join(f"{number} {name}" for name, number in version["shadow_answers"].items())
        yield f"  as a shadow  {shadows}"
