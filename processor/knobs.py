"""Environment variables that tune Corelane: one registry, read once at start-up. A bad value is an error there.

What belongs to a model or a host stands in the manifest; a knob is for what only an operator in trouble changes.
`python -m corelane.processor.knobs` prints the table of them in docs/manifest.md.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from corelane.processor.errors import StartError

PREFIX = "CORELANE_"
ADMIN = "CORELANE_ADMIN"
API_KEY = "CORELANE_API_KEY"
CACHE = "CORELANE_CACHE"
LOG_FORMAT = "CORELANE_LOG_FORMAT"
SERVER = "CORELANE_SERVER"
STATE = "CORELANE_STATE"
# Of a user without a home; a service manager makes it.
_CACHE_OF_NOBODY = Path("/var/cache/corelane")
_STATE_OF_NOBODY = Path("/var/lib/corelane")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """An environment variable: what its values are, what holds without it (empty: nothing), and what it decides."""

    name: str
    type: str
    default: str
    help: str


def _seconds(default: float, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Durations in seconds. Field names in capitals, behind CORELANE_, are the variables."""

    watch_interval_s: float = _seconds(1.0, "how often version folders and the manifest file are looked at")
    settle_s: float = _seconds(2.0, "a version folder is complete when nothing in it changed for this long")
    request_timeout_s: float = _seconds(60.0, "time limit of calls whose client sets no deadline")
    rest_timeout_s: float = _seconds(30.0, "time limit of calls by REST")
    restart_backoff_max_s: float = _seconds(30.0, "longest wait before a version that crashed or failed is tried again")
    heartbeat_s: float = _seconds(
        15.0, "a gateway or worker that does not answer the supervisor for this long is killed and restarted"
    )


VARIABLES = (
    *(
        Variable(
            name=PREFIX + knob.name.upper(), type="seconds", default=f"{knob.default:g}", help=knob.metadata["help"]
        )
        for knob in fields(Knobs)
    ),
    Variable(name=ADMIN, type="host:port", default="127.0.0.1:8502", help="the commands' `--admin`"),
    Variable(name=SERVER, type="host:port", default="127.0.0.1:8500", help="the commands' `--server`"),
    Variable(name=API_KEY, type="key or JWT", default="", help="the `--api-key` of `corelane predict`"),
    Variable(
        name=CACHE,
        type="folder",
        default="~/.cache/corelane",
        help="keeps profiles, tables, and plans until nobody loads them for two weeks; "
        f"`{_CACHE_OF_NOBODY}` for a user without a home",
    ),
    Variable(
        name=STATE,
        type="folder",
        default="~/.local/state/corelane",
        help=f"keeps events and earlier splits; `{_STATE_OF_NOBODY}` for a user without a home",
    ),
    Variable(name=LOG_FORMAT, type="text or json", default="text", help="lines for people, or JSON objects"),
)


def value(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a variable of the registry is set to, else its default."""
    (variable,) = (variable for variable in VARIABLES if variable.name == name)
    return environment.get(name, variable.default)


def table() -> str:
    """A row for each variable: its type, default and meaning."""
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default else "none"
        lines.append(f"| `{variable.name}` | {variable.type} | {default} | {variable.help} |")
    return "\n".join(lines)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where plans, tables and profiles are kept: CORELANE_CACHE, else corelane in the user's cache folder. The folder
    may be missing or read-only. StartError for a relative path when the current folder is gone."""
    return _folder(CACHE, "XDG_CACHE_HOME", Path(".cache"), _CACHE_OF_NOBODY, environment)


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where events and earlier splits are kept: CORELANE_STATE, else corelane in the user's folder for state. The
    folder may be missing or read-only. StartError as for `cache_folder`."""
    return _folder(STATE, "XDG_STATE_HOME", Path(".local/state"), _STATE_OF_NOBODY, environment)


def _folder(variable: str, standard: str, in_home: Path, of_nobody: Path, environment: Mapping[str, str]) -> Path:
    if chosen := environment.get(variable):
        try:
            return Path(chosen).resolve()
        except FileNotFoundError:
            raise StartError(f"{variable} should be an absolute path: the current folder is gone") from None
    if chosen := environment.get(standard):
        return Path(chosen) / "corelane"
    try:
        return Path.home() / in_home / "corelane"
    except RuntimeError:
        return of_nobody


def read_knobs(environment: Mapping[str, str] = os.environ) -> Knobs:
    """StartError for a value that is no positive number, or a CORELANE_ variable that is not in the registry."""
    known = {PREFIX + knob.name.upper(): knob.name for knob in fields(Knobs)}
    texts = {variable.name for variable in VARIABLES} - known.keys()
    values: dict[str, float] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in texts:
            continue
        if variable not in known:
            raise StartError(f"environment variable {variable} is not a knob; known: {', '.join(sorted(known))}")
        try:
            values[known[variable]] = float(text)
        except ValueError:
            raise StartError(f"environment variable {variable} should be a number of seconds, not {text!r}") from None
        if not 0 < values[known[variable]] < float("inf"):
            raise StartError(f"environment variable {variable} should be greater than 0, not {text!r}")
    return Knobs(**values)


if __name__ == "__main__":
    print(table())
