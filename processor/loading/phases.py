"""What a load, or a command, is at, for whoever waits for it."""

from collections.abc import Callable
from enum import StrEnum


class LoadPhase(StrEnum):
    STARTING = "starting"  # the process
    CHOOSING = "choosing an engine"
    COMPILING = "compiling"  # a plan
    READING = "reading"  # the graph and its values
    COMPARING = "comparing bf16 with fp32"
    WARMING = "warming up"
    PROFILING = "profiling"


def describe(phase: str, signature: str) -> str:
    return f"{phase} signature {signature}" if signature else phase


OnPhase = Callable[[LoadPhase, str], None]  # and which signature it runs; ""


def untold(phase: LoadPhase, signature: str = "") -> None:
    """For loads that nobody waits for."""


OnStep = Callable[[str, int, int], None]  # what is being done, how much of it, and of how much; 0: not known


def unheard(text: str, done: int, total: int) -> None:
    """For work that nobody waits for."""
