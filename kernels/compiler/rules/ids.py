"""From strings and numbers to ids: hashes, vocabularies, buckets, and comparisons that filter them."""

import re
from typing import Any

import numpy as np

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.common import sizes_of
from corelane.kernels.compiler.sizes import BATCH, Size, product
from corelane.kernels.compiler.terms import (
    Coordinates,
    Feature,
    Known,
    Part,
    Same,
    Shape,
    Sizes,
    Term,
    Vector,
    Vocabulary,
    shape_of,
)
from corelane.kernels.compiler.values import INT64
from corelane.kernels.graph.constants import BOOL, FLOAT, INT32, STRING
from corelane.kernels.graph.constants import INT64 as DT_INT64

_INTS = (INT32, DT_INT64)
_CROSSED_MAX = 4
_FLOAT_EXACT = 2**24  # floats hold every int up to it


@rule("hash bucket", "StringToHashBucketFast")
def hash_bucket(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    text = inputs[0]
    if not isinstance(text, Vector):
        return None
    value = analysis.values.add(
        "hash",
        (text.value,),
        kind="ints",
        domain=analysis.values[text.value].domain,
        number=attribute(node, "num_buckets"),
    )
    return Vector(value, text.shape, DT_INT64)


@rule("salted hash bucket", "StringToHashBucketStrong")
def strong_hash_bucket(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    text, key = inputs[0], attribute(node, "key").i
    if not isinstance(text, Vector) or len(key) != 2:
        return None
    value = analysis.values.add(
        "strong_hash",
        (text.value,),
        kind="ints",
        domain=analysis.values[text.value].domain,
        number=attribute(node, "num_buckets"),
        offset=_signed(key[0]),
        other=_signed(key[1]),
    )
    return Vector(value, text.shape, DT_INT64)


@rule("lower case", "StringLower")
def lower(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    text = inputs[0]
    if not isinstance(text, Vector) or attribute(node, "encoding", b""):
        return None
    domain = analysis.values[text.value].domain
    return Vector(analysis.values.add("lower", (text.value,), kind="strings", domain=domain), text.shape, STRING)


@rule("characters left out", "StaticRegexReplace")
def erase(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A pattern that is one character of a set, replaced by nothing."""
    text, characters = inputs[0], _characters(attribute(node, "pattern", b""))
    if not isinstance(text, Vector) or not characters:
        return None
    if attribute(node, "rewrite", b"") or not attribute(node, "replace_global", True):
        return None
    domain = analysis.values[text.value].domain
    value = analysis.values.add("erase", (text.value,), kind="strings", domain=domain, text=characters)
    return Vector(value, text.shape, STRING)


# A bracket expression of plain and escaped punctuation, letters and digits: RE2 and `re` read those alike.
_SET = re.compile(rb"\[(?!\^)(?:\\[^\w\s]|[^\[\]\\]|\[(?!:))+\]")


def _characters(pattern: bytes) -> bytes:
    """Those that a pattern stands for; none if it is more than one set of ASCII characters."""
    if not _SET.fullmatch(pattern) or not pattern.isascii():
        return b""
    found = re.compile(pattern)
    return bytes(character for character in range(128) if found.fullmatch(bytes([character])))


@rule("crossed column", "SparseCross")
def cross(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    """Of dense inputs with one string a row."""
    count = len(inputs)
    plain = attribute(node, "hashed_output", False) and attribute(node, "N", 0) == 0
    if not plain or not 2 <= count <= _CROSSED_MAX or attribute(node, "num_buckets", 0) < 1:
        return None
    values: list[int] = []
    for one in inputs:
        if not isinstance(one, Vector) or one.dtype != STRING or one.shape != (BATCH, Size.of(1)):
            return None
        values.append(one.value)
    found = analysis.values.add(
        "cross",
        tuple(values),
        kind="ints",
        domain=BATCH,
        number=attribute(node, "num_buckets"),
        offset=_signed(attribute(node, "hash_key")),
    )
    shape = (BATCH, Size.of(1))
    return [
        Coordinates(analysis.values.even_rows(1), shape),
        Vector(found, (BATCH,), DT_INT64),
        sizes_of(list(shape)),
    ]


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


@rule("ints as text", "AsString")
def as_string(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    number = inputs[0]
    plain = attribute(node, "width", -1) == -1 and not attribute(node, "fill", b"")
    if not isinstance(number, Vector) or number.dtype not in _INTS or not plain:
        return None
    domain = analysis.values[number.value].domain
    return Vector(analysis.values.add("text", (number.value,), kind="strings", domain=domain), number.shape, STRING)


@rule("vocabulary", "HashTableV2", "HashTable")
def vocabulary_handle(analysis: Analysis, node: Any, inputs: list[Term]) -> Term:
    return Vocabulary(node.name)


@rule("vocabulary", "LookupTableFindV2", "LookupTableFind")
def find(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    handle, keys, default = inputs
    if not isinstance(handle, Vocabulary) or not isinstance(keys, Vector) or not isinstance(default, Known):
        return None
    if attribute(node, "Tout") != DT_INT64 or default.array.size != 1:
        return None
    kind = analysis.values[keys.value].kind
    if kind not in ("strings", "ints"):
        return None
    value = analysis.values.add(
        "find_string" if kind == "strings" else "find_int",
        (keys.value,),
        kind="ints",
        domain=analysis.values[keys.value].domain,
        number=int(default.array.ravel()[0]),
        map=handle.handle,
        ids=(ids.least, ids.largest) if (ids := analysis.ids.get(handle.handle)) else INT64,
    )
    return Vector(value, keys.shape, DT_INT64)


@rule("vocabulary", "LookupTableSizeV2", "LookupTableSize")
def vocabulary_size(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    ids = analysis.ids.get(inputs[0].handle) if isinstance(inputs[0], Vocabulary) else None
    return None if ids is None else Known(np.array(ids.keys, np.int64))


@rule("bucketize", "Bucketize")
def bucketize(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    number = inputs[0]
    if not isinstance(number, Vector) or analysis.values[number.value].kind != "floats":
        return None
    domain = analysis.values[number.value].domain
    bounds = tuple(attribute(node, "boundaries").f)
    value = analysis.values.add("bucketize", (number.value,), kind="ints", domain=domain, bounds=bounds)
    return Vector(value, number.shape, INT32)


@rule("cast of ids", "Cast")
def cast(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    number, to = inputs[0], attribute(node, "DstT")
    if not isinstance(number, Vector) or analysis.values[number.value].kind != "ints" or to not in (*_INTS, FLOAT):
        return None
    low, high = analysis.values[number.value].interval or INT64
    if to == FLOAT and not (low >= -_FLOAT_EXACT and high <= _FLOAT_EXACT):
        return _rounded(analysis, number)
    if to == INT32 and number.dtype == DT_INT64 and not (low >= -(2**31) and high < 2**31):
        return None  # it would lose bits
    return Vector(number.value, number.shape, to)


def _rounded(analysis: Analysis, number: Vector) -> Term | None:
    """Ints as the floats nearest to them, which are ints no more."""
    if number.shape[:1] != (BATCH,) or isinstance(analysis.values[number.value].domain, int):
        return None
    return Feature((Part("copy_as_floats", (number.value,), product(number.shape[1:])),), number.shape, FLOAT)


_COMPARISONS = {
    "Equal": "equal",
    "NotEqual": "not_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
}
_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
_ARITHMETIC = {
    "Add": "add",
    "AddV2": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "FloorMod": "floor_mod",
    "FloorDiv": "floor_divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
_LOGIC = {"LogicalAnd": "and", "LogicalOr": "or"}


@rule("comparison", *_COMPARISONS)
def compare(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    return _binary(analysis, _COMPARISONS[node.op], inputs, BOOL)


@rule("arithmetic on ids", *_ARITHMETIC)
def arithmetic(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if attribute(node, "T") not in _INTS:
        return None
    found = _binary(analysis, _ARITHMETIC[node.op], inputs, attribute(node, "T"))
    if isinstance(found, Vector):
        value = analysis.values[found.value]
        low, high = value.interval or INT64
        # An int32 would wrap around where our int64 does not.
        if found.dtype == INT32 and not (low >= -(2**31) and high < 2**31):
            return None
    return found


@rule("arithmetic on numbers", "Add", "AddV2", "Sub", "Mul", "RealDiv")
def scale(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    """A fed number, shifted and scaled by constants."""
    number, by = inputs
    if node.op in ("Add", "AddV2", "Mul") and not isinstance(number, Vector):
        number, by = by, number
    if not isinstance(number, Vector) or analysis.values[number.value].kind != "floats":
        return None
    if not isinstance(by, Known) or by.array.size != 1 or len(by.array.shape) > len(number.shape):
        return None
    opcode = _ARITHMETIC.get(node.op, "divide")
    operand = float(by.array.item())
    domain = analysis.values[number.value].domain
    value = analysis.values.add(opcode, (number.value,), kind="floats", domain=domain, bounds=(operand,))
    return Vector(value, number.shape, FLOAT)


@rule("logic", *_LOGIC)
def logic(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    return _binary(analysis, _LOGIC[node.op], inputs, BOOL)


@rule("logic", "LogicalNot")
def invert(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    mask = inputs[0]
    if not isinstance(mask, Vector):
        return None
    domain = analysis.values[mask.value].domain
    return Vector(analysis.values.add("not", (mask.value,), kind="ints", domain=domain), mask.shape, BOOL)


def _binary(analysis: Analysis, opcode: str, inputs: list[Term], dtype: int) -> Term | None:
    """Of two vectors of the same elements, or of one and a constant."""
    left, right = inputs
    if isinstance(right, Vector) and not isinstance(left, Vector):
        if opcode in ("subtract", "floor_mod", "floor_divide"):
            return None
        left, right, opcode = right, left, _MIRRORED.get(opcode, opcode)
    if not isinstance(left, Vector):
        return None
    values = analysis.values
    value = values[left.value]
    if left.dtype == FLOAT and value.kind != "floats":
        return None  # ids as floats, which are only cast back
    if isinstance(right, Vector):
        other = values[right.value]
        if right.shape != left.shape or other.domain != value.domain or other.kind != value.kind:
            return None
        if (value.kind == "floats" and dtype != BOOL) or opcode in ("floor_mod", "floor_divide"):
            return None
        found = values.add(opcode, (left.value, right.value), kind="ints", domain=value.domain)
        return Vector(found, left.shape, dtype)
    element = _element(right, left.shape)
    if element is None:
        return None
    if value.kind == "strings":
        found = values.add(opcode, (left.value,), kind="ints", domain=value.domain, text=bytes(element))
    elif value.kind == "floats":
        if dtype != BOOL:
            return None
        found = values.add(opcode, (left.value,), kind="ints", domain=value.domain, bounds=(float(element),))
    elif opcode in ("and", "or"):
        # What changes nothing is left out.
        found = left.value
        if bool(element) != (opcode == "and"):
            return None
    elif opcode in ("floor_mod", "floor_divide") and int(element) <= 0:
        return None
    elif (opcode, int(element)) in (("add", 0), ("subtract", 0), ("multiply", 1), ("floor_divide", 1)):
        found = left.value
    else:
        found = values.add(opcode, (left.value,), kind="ints", domain=value.domain, number=int(element))
    return Vector(found, left.shape, dtype)


def _element(term: Term, shape: Shape) -> Any:
    """The one number or string that a constant operand is everywhere, if it leaves the other's shape as it is."""
    found = shape_of(term)
    if isinstance(term, Known) and term.array.size == 1 and len(term.array.shape) <= len(shape):
        return term.array.ravel()[0]
    if isinstance(term, Sizes) and term.values.ndim == 0 and term.values.item().constant is not None:
        return term.values.item().constant
    if isinstance(term, Same) and found == shape:
        return term.element
    return None


@rule("select of ids", "SelectV2", "Select")
def select(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    mask = inputs[0]
    if not isinstance(mask, Vector) or attribute(node, "T") not in _INTS:
        return None
    values = analysis.values
    domain = values[mask.value].domain
    branches = []
    for branch in inputs[1:]:
        if isinstance(branch, Vector):
            if branch.shape != mask.shape or values[branch.value].domain != domain:
                return None
            branches.append(branch.value)
            continue
        element = _element(branch, mask.shape)
        if element is None or (node.op == "Select" and not isinstance(branch, Same)):
            return None
        branches.append(values.add("constant", (mask.value,), kind="ints", domain=domain, number=int(element)))
    always = values.always(mask.value)
    if always is not None:
        return Vector(branches[0 if always else 1], mask.shape, attribute(node, "T"))
    found = values.add("select", (mask.value, *branches), kind="ints", domain=domain)
    return Vector(found, mask.shape, attribute(node, "T"))
