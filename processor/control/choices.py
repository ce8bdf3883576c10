"""What is chosen for a version before and while it loads: its engine and its precision."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine of a version, the folder that the engine loads, and why; `tables` are the files of the plan's tables
    in other precisions that the cache has (EngineOptions.tables)."""

    engine: str
    folder: str
    why: str
    tables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """`name` is "fp32", "bf16" or "int8", `why` the reason in words; `isa` is what oneDNN takes on this processor."""

    name: str
    why: str
    isa: str
