"""Environment variables that tune Corelane: one registry, read once at start-up. A bad value is an error there.

What belongs to a model or a host stands in the manifest; a knob is for what only an operator in trouble changes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from processor.errors import StartError

PREFIX = "CORELANE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Field names in capitals, behind CORELANE_, are the variables."""

    watch_interval_s: float = 1.0  # how often version folders and the manifest file are looked at
    settle_s: float = 2.0  # a version folder is complete when nothing in it changed for this long
    request_timeout_s: float = 60.0  # for calls whose client sets no deadline
    rest_timeout_s: float = 30.0  # for calls by REST
    restart_backoff_max_s: float = 30.0  # longest wait before a crashed or failed version is tried again
    heartbeat_s: float = 15.0  # a worker or gateway that does not answer for so long is ended, and another starts


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are kept: CORELANE_CACHE, else corelane in the user's cache folder."""
    if chosen := environment.get("CORELANE_CACHE"):
        return Path(chosen).resolve()
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corelane"


def read_knobs(environment: Mapping[str, str] = os.environ) -> Knobs:
    """StartError for a value that is no positive number, or a CORELANE_ variable that is no knob."""
    known = {PREFIX + field.name.upper(): field.name for field in fields(Knobs)}
    # Read elsewhere: defaults of the command line, cache_folder, logs.
    other = {"CORELANE_ADMIN", "CORELANE_API_KEY", "CORELANE_CACHE", "CORELANE_LOG_FORMAT"}
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
