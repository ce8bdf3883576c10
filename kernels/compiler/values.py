"""The program that the compiler builds: instructions whose results are vectors, each made once.

`Values` numbers instructions by what they compute: the same instruction on the same arguments is the same number. What
each means is in `kernels/native/program.h`; here are its kind of elements, its domain (which elements there are) and
the interval that its ints lie in.
"""

from dataclasses import dataclass
from typing import Any

from corelane.kernels.compiler.sizes import BATCH, Size

INT64 = (-(2**63), 2**63 - 1)
_BOOLS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "and", "or", "not", "is_empty")
COMPARISONS = _BOOLS[:6]

# The elements of a tensor, as many as this size; or those of a rows instruction, by its number.
Domain = Size | int


@dataclass(frozen=True, slots=True)
class Value:
    """`kind` is "strings", "ints", "floats" or "rows"; `interval` bounds ints, both ends included."""

    opcode: str
    inputs: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...]
    kind: str
    domain: Domain
    interval: tuple[int, int] | None = None

    def attribute(self, name: str) -> Any:
        return dict(self.attributes)[name]


def operand(kind: str, element: Any, *, ints: str = "number", strings: str = "text") -> dict[str, Any]:
    """A constant as an instruction on that kind has it; `ints` and `strings` name where such go."""
    if kind == "strings":
        return {strings: bytes(element)}
    return {ints: int(element)} if kind == "ints" else {"bounds": (float(element),)}


class Values:
    """Thread safety: none."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._numbers: dict[tuple[Any, ...], int] = {}

    def __getitem__(self, number: int) -> Value:
        return self._values[number]

    def add(self, opcode: str, inputs: tuple[int, ...] = (), *, kind: str, domain: Domain, **attributes: Any) -> int:
        """The number of an instruction's result."""
        key = (opcode, inputs, tuple(sorted(attributes.items())), kind)
        if key not in self._numbers:
            interval = self._interval(opcode, inputs, attributes) if kind == "ints" else None
            self._numbers[key] = len(self._values)
            self._values.append(Value(opcode, inputs, key[2], kind, domain, interval))
        return self._numbers[key]

    def length(self, domain: Domain) -> Size:
        """How many elements a domain has."""
        return Size.symbol("count", domain) if isinstance(domain, int) else domain

    def grid(self, value: int) -> int:
        """Rows that deal the elements of a tensor out evenly; the value's own if it has them."""
        domain = self[value].domain
        if isinstance(domain, int):
            return domain
        width = domain.divided_by(BATCH)
        if width is None or width.constant is None:
            return self.add("grid", (value,), kind="rows", domain=BATCH)
        return self.even_rows(width.constant)

    def even_rows(self, width: int) -> int:
        """Rows of so many elements each."""
        return self.add("even_rows", kind="rows", domain=BATCH, number=width)

    def are_of(self, value: int, rows: int) -> bool:
        """Whether a value's elements are those of the rows."""
        return self[value].domain == rows or (not isinstance(self[value].domain, int) and self.grid(value) == rows)

    def keep(self, value: int, mask: int, rows: int) -> int:
        """The elements where the mask is set; `rows` are those of the kept ones."""
        return self.add("keep", (value, mask), kind=self[value].kind, domain=rows)

    def keep_rows(self, rows: int, mask: int) -> int:
        return self.add("keep_rows", (rows, mask), kind="rows", domain=BATCH)

    def always(self, mask: int) -> bool | None:
        """What a mask is for every element that can come; None if that depends."""
        found = self[mask].interval
        return None if found is None or found[0] != found[1] else bool(found[0])

    def _interval(self, opcode: str, inputs: tuple[int, ...], attributes: dict[str, Any]) -> tuple[int, int]:
        of = [self[number].interval or INT64 for number in inputs if self[number].kind == "ints"]
        if opcode in COMPARISONS and of and len(of) == len(inputs):
            other = of[1] if len(of) > 1 else (attributes["number"], attributes["number"])
            return _compared(opcode, of[0], other)
        if opcode in ("and", "or"):
            pick = min if opcode == "and" else max
            return pick(of[0][0], of[1][0]), pick(of[0][1], of[1][1])
        if opcode == "not":
            return 1 - of[0][1], 1 - of[0][0]
        if opcode in _BOOLS:
            return 0, 1
        if opcode in ("hash", "strong_hash", "cross"):
            return 0, attributes["number"] - 1
        if opcode == "bucketize":
            return 0, len(attributes["bounds"])
        if opcode in ("find_string", "find_int"):
            low, high = attributes["ids"]
            return min(low, attributes["number"]), max(high, attributes["number"])
        if opcode == "keep":
            return self._kept(inputs[0], inputs[1])
        if opcode in ("parse", "parse_rows"):
            return INT64
        if opcode in ("take", "distinct"):
            return of[0]
        if opcode == "pad":
            return min(of[0][0], attributes["other"]), max(of[0][1], attributes["other"])
        if opcode == "fill":
            return min(of[0][0], attributes["number"]), max(of[0][1], attributes["number"])
        if opcode == "select":
            return min(of[1][0], of[2][0]), max(of[1][1], of[2][1])
        if opcode == "constant":
            return attributes["number"], attributes["number"]
        if opcode in ("add", "subtract", "multiply", "floor_mod", "floor_divide", "maximum", "minimum"):
            other = of[1] if len(of) > 1 else (attributes["number"], attributes["number"])
            return _calculated(opcode, of[0], other)
        return attributes.get("interval", INT64)

    def _kept(self, value: int, mask: int) -> tuple[int, int]:
        """A filter on the value itself narrows it."""
        low, high = self[value].interval or INT64
        test = self[mask]
        if test.inputs == (value,) and test.opcode in COMPARISONS:
            other = test.attribute("number")
            if test.opcode == "greater_equal":
                low = max(low, other)
            elif test.opcode == "greater":
                low = max(low, other + 1)
            elif test.opcode == "less":
                high = min(high, other - 1)
            elif test.opcode == "less_equal":
                high = min(high, other)
        return low, max(low, high)


def _compared(opcode: str, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    if opcode in ("greater", "greater_equal"):
        return _compared("less" if opcode == "greater" else "less_equal", right, left)
    if opcode == "less":
        return int(left[1] < right[0]), int(left[0] < right[1])
    if opcode == "less_equal":
        return int(left[1] <= right[0]), int(left[0] <= right[1])
    apart = left[1] < right[0] or right[1] < left[0]
    same = left[0] == left[1] == right[0] == right[1]
    low, high = (1, 1) if same else (0, 0) if apart else (0, 1)
    return (low, high) if opcode == "equal" else (1 - high, 1 - low)


def _calculated(opcode: str, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    """All ints if the result may wrap around."""
    if opcode == "floor_mod":
        return 0, right[1] - 1
    if opcode == "floor_divide":
        return left[0] // right[0], left[1] // right[0]
    if opcode in ("maximum", "minimum"):
        pick = max if opcode == "maximum" else min
        return pick(left[0], right[0]), pick(left[1], right[1])
    if opcode == "multiply":
        ends = [a * b for a in left for b in right]
    elif opcode == "add":
        ends = [left[0] + right[0], left[1] + right[1]]
    else:
        ends = [left[0] - right[1], left[1] - right[0]]
    return (min(ends), max(ends)) if min(ends) >= INT64[0] and max(ends) <= INT64[1] else INT64
