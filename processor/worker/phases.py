"""What a load is at, for whoever waits for it."""

from collections.abc import Callable
from enum import StrEnum


class LoadPhase(StrEnum):
    STARTING = "starting"  # the process
    CHOOSING = "choosing an engine"
    COMPILING = "compiling"  # a plan
    READING = "reading"  # the graph and its values
    WARMING = "warming up"
    PROFILING = "profiling"


OnPhase = Callable[[LoadPhase], None]


def untold(phase: LoadPhase) -> None:
    """For loads that nobody waits for."""
