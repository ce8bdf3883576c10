"""Environment variables that tune Corelane: one registry, read once at start-up. A bad value is an error there.

What belongs to a model or a host stands in the manifest; a knob is for what only an operator in trouble changes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from corelane.processor.errors import StartError

PREFIX = "CORELANE_"
CACHE = "CORELANE_CACHE"
STATE = "CORELANE_STATE"
# Of a user without a home; a service manager makes it.
_CACHE_OF_NOBODY = Path("/var/cache/corelane")
_STATE_OF_NOBODY = Path("/var/lib/corelane")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Field names in capitals, behind CORELANE_, are the variables."""

    watch_interval_s: float = 1.0  # how often version folders and the manifest file are looked at
    settle_s: float = 2.0  # a version folder is complete when nothing in it changed for this long
    request_timeout_s: float = 60.0  # for calls whose client sets no deadline
    rest_timeout_s: float = 30.0  # for calls by REST
    restart_backoff_max_s: float = 30.0  # longest wait before a crashed or failed version is tried again
    heartbeat_s: float = 15.0  # a process that does not answer the supervisor for this long is killed


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where plans, tables and profiles are kept: CORELANE_CACHE, else corelane in the user's cache folder. It need not
    be there, nor be one that can be written. StartError for a relative one when the current folder is gone."""
    return _folder(CACHE, "XDG_CACHE_HOME", Path(".cache"), _CACHE_OF_NOBODY, environment)


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where events and earlier splits are kept: CORELANE_STATE, else corelane in the user's folder for state. It need
    not be there, nor be one that can be written. StartError as `cache_folder`."""
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
    """StartError for a value that is no positive number, or a CORELANE_ variable that is no knob."""
    known = {PREFIX + field.name.upper(): field.name for field in fields(Knobs)}
    # Read elsewhere: defaults of the command line, the folders above, logs.
    other = {"CORELANE_ADMIN", "CORELANE_SERVER", "CORELANE_API_KEY", CACHE, STATE, "CORELANE_LOG_FORMAT"}
    values: dict[str, float] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in other:
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
