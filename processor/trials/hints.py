"""What a fused plan looks for in its inputs, so that requests made up reach all of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corelane.processor.engines.selection import PLAN

_ITEMS_MAX = 1000
_COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
# An id passes through these as it is.
_KEEPS_VALUES = ("keep", "fill", "pad", "take")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Separators and vocabulary of strings, numbers at which something changes, and how many rows the table has that an
    input's ids go to, by signature and input. `signatures` are those that the plan computes by itself; empty: any."""

    separators: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()
    features: tuple[tuple[bytes, str, int | None], ...] = ()  # of tf.Examples: key, kind, how many values or any
    numbers: tuple[float, ...] = ()
    table_rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()


def hints_of(folder: Path) -> Hints:
    """The hints of the plan in `folder`; none if it holds no plan."""
    path = folder / PLAN
    if not path.is_file():
        return Hints()
    separators: set[bytes] = set()
    words: list[bytes] = []
    numbers: set[float] = set()
    features: set[tuple[bytes, str, int | None]] = set()
    table_rows: dict[tuple[str, str], int] = {}
    fused = [signature for signature in json.loads(path.read_text())["signatures"] if "program" in signature]
    for signature in fused:
        for instruction in signature["program"]["instructions"]:
            text = instruction.get("text", "").encode("latin-1")
            if instruction["opcode"] in ("parse", "parse_rows"):
                count = instruction["number"] if instruction["opcode"] == "parse" else None
                features.add((text, instruction["kind"], count))
            elif instruction["opcode"] == "split" and text:
                separators.update([text] if not instruction.get("flag") else [bytes([byte]) for byte in text])
            elif text:
                words.append(text)
            for bound in instruction.get("bounds", []):
                numbers.update((bound, bound - 0.5, bound + 0.5))
            if instruction["opcode"] in _COMPARISONS:
                number = instruction.get("number", 0)
                numbers.update((number - 1, number, number + 1))
        for vocabulary in signature["program"]["maps"]:
            words.extend(word.encode("latin-1") for word in vocabulary.get("strings", []))
            numbers.update(vocabulary.get("ints", []))
        table_rows |= {(signature["name"], name): rows for name, rows in _table_rows(signature).items()}
    return Hints(
        separators=tuple(sorted(separators)),
        words=tuple(_evenly(words)),
        numbers=tuple(_evenly(sorted(numbers))),
        features=tuple(sorted(features, key=str)),
        table_rows=table_rows,
        signatures=tuple(signature["name"] for signature in fused),
    )


def _table_rows(signature: Mapping[str, Any]) -> dict[str, int]:
    """By input whose values are looked up as they are, with a check: the rows of the smallest table."""
    program = signature["program"]
    feeds: dict[int, int] = {}  # by register, whose values it holds now
    rows: dict[str, int] = {}
    for instruction in program["instructions"]:
        inputs = instruction["inputs"]
        if instruction["opcode"] in ("pool", "gather"):
            if not instruction.get("flag") and inputs[0] in feeds:
                name = signature["inputs"][feeds[inputs[0]]]["name"]
                count = program["tables"][instruction["table"]]["rows"]
                rows[name] = min(count, rows.get(name, count))
            continue
        source = instruction["number"] if instruction["opcode"] == "load_ints" else None
        if instruction["opcode"] in _KEEPS_VALUES:
            source = feeds.get(inputs[0])
        for register in (instruction.get("out"), instruction.get("rows_out")):
            feeds.pop(register, None)
        if source is not None:
            feeds[instruction["out"]] = source
    return rows


def _evenly(items: Sequence[Any]) -> Sequence[Any]:
    """All, or some that lie evenly among many."""
    return items[:: len(items) // _ITEMS_MAX + 1]
