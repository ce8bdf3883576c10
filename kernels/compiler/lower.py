"""From features to the instructions of `kernels/native/program.h`, in an order that keeps few vectors alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from corelane.kernels.compiler.sizes import Size
from corelane.kernels.compiler.terms import Feature, Part, Table
from corelane.kernels.compiler.values import INT64, Values

# Strings that they make are looked at by others, which were kept or filled from them.
_MAKES_STRINGS = ("text", "lower", "erase")

Instruction = dict[str, Any]


def lower(
    values: Values, features: Mapping[str, Feature], feeds: Mapping[str, int], tables: Mapping[Table, int]
) -> tuple[list[Instruction], list[Instruction], list[str], int]:
    """Instructions; the outputs that they write, one for each feature; the vocabularies' handles; how many registers.

    `feeds` and `tables` are numbered by the caller."""
    return _Lowering(values, feeds, tables).run(list(features.values()))


class _Lowering:
    def __init__(self, values: Values, feeds: Mapping[str, int], tables: Mapping[Table, int]) -> None:
        self._values, self._feeds, self._tables = values, feeds, tables
        self._made: list[tuple[Instruction, tuple[int, ...], tuple[int, ...]]] = []  # instruction, takes, makes
        self._done: set[int] = set()
        self._maps: dict[str, int] = {}

    def run(self, features: Sequence[Feature]) -> tuple[list[Instruction], list[Instruction], list[str], int]:
        outputs: list[Instruction] = []
        for number, feature in enumerate(features):
            offset = Size.of(0)
            widths = [part.width.constant for part in feature.parts]
            for part in feature.parts:
                self._part(part, number, offset)
                offset = offset + part.width
            kind = "ints" if feature.parts[0].opcode == "copy_ints" else "floats"
            total = -1 if None in widths else sum(width for width in widths if width is not None)
            outputs.append({"kind": kind, "width": total})
        registers = self._allocate()
        return [instruction for instruction, _, _ in self._made], outputs, list(self._maps), registers

    def _part(self, part: Part, output: int, offset: Size) -> None:
        for number in part.inputs:
            self._value(number)
        attributes = dict(part.attributes)
        # Parts side by side begin where the first does.
        begin = (offset - attributes.pop("before", Size.of(0))).constant
        assert begin is not None, "only parts side by side may have any width"
        instruction: Instruction = {"opcode": part.opcode, "output": output, **attributes}
        instruction["offset"] = begin + instruction.pop("inset", 0)
        if part.table is not None:
            instruction["table"] = self._tables[part.table]
            low, high = self._values[part.inputs[0]].interval or INT64
            instruction["flag"] = low >= 0 and high < part.table.rows
        self._made.append((instruction, part.inputs, ()))

    def _value(self, wanted: int) -> None:
        waiting = [wanted]
        while waiting:
            number = waiting[-1]
            missing = [one for one in self._values[number].inputs if one not in self._done]
            if number in self._done or not missing:
                waiting.pop()
                if number not in self._done:
                    self._make(number)
            else:
                waiting.extend(missing)

    def _make(self, number: int) -> None:
        value = self._values[number]
        attributes = dict(value.attributes)
        attributes.pop("interval", None)
        attributes.pop("ids", None)
        makes: tuple[int, ...] = (number,)
        kind = attributes.pop("values", None) or ("strings" if value.opcode == "split" else value.kind)
        if value.opcode in ("split", "parse_rows"):
            # One instruction makes both the rows and their elements.
            rows = number if value.kind == "rows" else value.domain
            assert isinstance(rows, int), "elements are of rows"
            elements = self._values.add(value.opcode, value.inputs, kind=kind, domain=rows, **dict(value.attributes))
            makes = (elements, rows)
        instruction = {"opcode": value.opcode, **attributes}
        if "feed" in attributes:
            instruction["number"] = self._feeds[instruction.pop("feed")]
        if "shape_feed" in attributes:
            instruction["other"] = self._feeds[instruction.pop("shape_feed")]
            instruction["offset"] = self._feeds[instruction.pop("values_feed")]
        if "map" in attributes:
            instruction["table"] = self._maps.setdefault(instruction.pop("map"), len(self._maps))
        if value.inputs and value.opcode not in ("keep", "fill", "pad", "take", "parse", "parse_rows"):
            kind = self._values[value.inputs[0]].kind
        instruction["kind"] = kind if kind in ("strings", "floats") else "ints"
        self._made.append((instruction, value.inputs, makes))
        self._done.update(makes)

    def _allocate(self) -> int:
        """Gives every vector a register, which is free again after its last use."""
        last = {number: at for at, (_, takes, makes) in enumerate(self._made) for number in (*makes, *takes)}
        free: list[int] = []
        registers: dict[int, int] = {}
        count = 0
        for at, (instruction, takes, makes) in enumerate(self._made):
            for number in makes:
                if not free:
                    free.append(count)
                    count += 1
                registers[number] = free.pop()
            instruction["inputs"] = [registers[number] for number in takes]
            if makes:
                instruction["out"] = registers[makes[0]]
            if len(makes) > 1:
                instruction["rows_out"] = registers[makes[1]]
            done = {number for number in {*takes, *makes} if last[number] == at}
            free.extend(registers[number] for number in done if self._values[number].opcode not in _MAKES_STRINGS)
        return count
