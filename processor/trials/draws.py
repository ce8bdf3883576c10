"""Values of every kind for a signature's inputs, drawn at random from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corelane.processor.trials.hints import Hints
from corelane.processor.trials.samples import Inputs
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import NUMPY_TYPES, Signature, SparseTriple, TensorSpec, sparse_triples

# What values of an input may be like. "range" are ids over all of a table; "empty" are zeros and empty strings.
KINDS = (
    *("plain", "mixed", "empty", "duplicate", "separated", "long", "bytes", "negative", "large", "known", "special"),
    *("range", "saturated"),
)
# Such as a model meets them, and at the ends of what it knows.
LIKELY = ("plain", "mixed", "duplicate", "separated", "known", "range")
# By numpy's letter of a type, the kinds that it has.
_DIFFERENT = {
    "b": ("plain",),
    "f": ("plain", "mixed", "empty", "duplicate", "large", "known", "special", "saturated"),
    "i": ("plain", "empty", "duplicate", "negative", "large", "known", "special", "range"),
    "u": ("plain", "empty", "duplicate", "large", "known", "special", "range"),
    "O": (
        "plain",
        "mixed",
        "empty",
        "duplicate",
        "separated",
        "long",
        "bytes",
        "negative",
        "large",
        "known",
        "special",
    ),
}
# Kinds that a table of so many rows refuses.
OUT_OF_RANGE = ("negative", "large", "special")
_SEPARATORS = (b";", b",", b"|", b" ", b"\t", b"\x01", b"\x02", b":", b"#")
_RANGE = 10_000  # of ids, where no table is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Rows of inputs whose first axis is open, by input, and the size of all other open axes."""

    rows: Mapping[str, int]
    width: int

    @classmethod
    def of(cls, signature: Signature, rows: int, width: int) -> "Shape":
        return cls(rows=dict.fromkeys(signature.inputs, rows), width=width)


class Draws:
    """Draws for one signature. `table_rows` may grow as more is learned of the model."""

    def __init__(self, signature: Signature, hints: Hints, seed: int = 1, kinds: Sequence[str] = KINDS) -> None:
        self.signature = signature
        self.table_rows = {name: rows for (of, name), rows in hints.table_rows.items() if of == signature.name}
        self._hints, self._kinds = hints, kinds
        self._source = np.random.default_rng(seed)
        self._triples = {triple.values: triple for triple in sparse_triples(signature)}
        apart = {name for triple in self._triples.values() for name in (triple.indices, triple.shape)}
        # What is drawn together: an input, or the three of a sparse tensor, under the name of its values.
        self.units = [name for name in signature.inputs if name not in apart]

    def kinds_of(self, unit: str) -> tuple[str, ...]:
        """The kinds that make a difference to this input."""
        different = _DIFFERENT.get(NUMPY_TYPES[self.signature.inputs[unit].dtype].kind, ("plain", "empty"))
        return tuple(kind for kind in different if kind in self._kinds) or ("plain",)

    def names_of(self, unit: str) -> tuple[str, ...]:
        """The inputs that are drawn together under this name."""
        triple = self._triples.get(unit)
        return (unit,) if triple is None else (triple.indices, triple.values, triple.shape)

    def draw(self, kinds: Mapping[str, str], shape: Shape) -> Inputs:
        """A request; `kinds` by unit."""
        inputs: Inputs = {}
        for unit in self.units:
            inputs |= self.draw_unit(unit, kinds[unit], shape)
        return {name: inputs[name] for name in self.signature.inputs}

    def draw_unit(self, unit: str, kind: str, shape: Shape) -> Inputs:
        if unit in self._triples:
            return self._sparse(self._triples[unit], kind, shape)
        spec = self.signature.inputs[unit]
        sizes = _sizes(spec, shape.rows[unit], shape.width)
        array = self._values(unit, kind, int(np.prod(sizes))).reshape(sizes)
        if kind == "duplicate" and array.size:
            array[...] = array.ravel()[0]
        return {unit: array}

    def saturated(self, shape: Shape) -> Inputs:
        """The inputs of floats, ten times as large as others."""
        floats = [unit for unit in self.units if NUMPY_TYPES[self.signature.inputs[unit].dtype].kind == "f"]
        return {
            name: array
            for unit in floats
            if unit not in self._triples
            for name, array in self.draw_unit(unit, "saturated", shape).items()
        }

    def _sparse(self, triple: SparseTriple, kind: str, shape: Shape) -> Inputs:
        """A sparse tensor of rows with up to `width` elements."""
        rows = shape.rows[triple.indices]
        lengths = self._source.integers(shape.width + 1, size=rows)
        places = [(row, place) for row, length in enumerate(lengths) for place in range(length)]
        return {
            triple.indices: np.array(places, np.int64).reshape(len(places), 2),
            triple.values: self._values(triple.values, kind, len(places)),
            triple.shape: np.array([rows, shape.width], np.int64),
        }

    def _values(self, unit: str, kind: str, size: int) -> np.ndarray:
        dtype = NUMPY_TYPES[self.signature.inputs[unit].dtype]
        if dtype.kind == "O":
            strings = np.empty(size, np.object_)
            strings[:] = [draw_string(self._source, kind, self._hints) for _ in range(size)]
            return strings
        return _numbers(self._source, kind, self._hints, dtype, size, self.table_rows.get(unit))


def examples(signature: Signature, hints: Hints) -> list[Inputs]:
    """Serialized tf.Examples, if the signature takes them: whole ones, with features left out, empty or of another
    type or length, and what is no Example at all."""
    if len(signature.inputs) != 1 or not hints.features:
        return []
    ((name, spec),) = signature.inputs.items()
    if spec.dtype != "DT_STRING" or spec.shape != (-1,):
        return []
    source = np.random.default_rng(2)
    requests = []
    for kind in ("plain", "mixed", "empty", "known", "large", "special", "separated", "bytes"):
        for damage in ("none", "missing", "missing", "type", "length", "cut", "cut", "cut"):
            rows = np.empty(4, np.object_)
            rows[:] = [draw_example(source, kind, damage if row == 2 else "none", hints) for row in range(len(rows))]
            requests.append({name: rows})
    return requests


def whole_examples(signature: Signature, hints: Hints, rows: int, seed: int) -> Inputs | None:
    """Serialized tf.Examples that have all their features; None if the signature does not take such."""
    if len(signature.inputs) != 1 or not hints.features:
        return None
    source = np.random.default_rng(seed)
    serialized = np.empty(rows, np.object_)
    serialized[:] = [draw_example(source, LIKELY[row % len(LIKELY)], "none", hints) for row in range(rows)]
    return {next(iter(signature.inputs)): serialized}


def draw_example(source: np.random.Generator, kind: str, damage: str, hints: Hints) -> bytes:
    example = messages.Example()
    chosen = int(source.integers(len(hints.features)))
    for number, (key, values, count) in enumerate(hints.features):
        hit = damage if number == chosen else "none"
        if hit == "missing":
            continue
        feature = example.features.feature[key.decode("utf-8", "replace")]
        length = (int(source.integers(4)) if count is None else count) + (hit == "length")
        if hit == "type":
            values = {"strings": "ints", "ints": "floats", "floats": "strings"}[values]
        if values == "strings":
            feature.bytes_list.value.extend(draw_string(source, kind, hints) for _ in range(length))
        elif values == "ints":
            feature.int64_list.value.extend(_numbers(source, kind, hints, np.dtype(np.int64), length, None).tolist())
        else:
            feature.float_list.value.extend(_numbers(source, kind, hints, np.dtype(np.float32), length, None).tolist())
    data = example.SerializeToString()
    return data[: source.integers(len(data) + 1)] if damage == "cut" else data


def _sizes(spec: TensorSpec, rows: int, width: int) -> tuple[int, ...]:
    sizes = spec.shape if spec.shape is not None else (-1,)
    return tuple(rows if axis == 0 and size == -1 else width if size == -1 else size for axis, size in enumerate(sizes))


def draw_string(source: np.random.Generator, kind: str, hints: Hints) -> bytes:
    plain = b"v%d" % source.integers(1000)
    separators = hints.separators or _SEPARATORS
    separator = separators[source.integers(len(separators))]
    match kind:
        case "empty":
            return b""
        case "separated":
            pieces = [plain, b"", b"x", b" ", plain, b"-1", b"0"]
            return separator.join(pieces[index] for index in source.integers(len(pieces), size=source.integers(1, 6)))
        case "long":
            return (plain + separator) * int(source.integers(1, 100)) + b"y" * int(source.integers(200))
        case "bytes":
            return source.bytes(int(source.integers(1, 20)))
        case "negative":
            return b"-%d" % source.integers(1, 100)
        case "large":
            return b"%d" % source.integers(2**62)
        case "known":
            return hints.words[source.integers(len(hints.words))] if hints.words else b"%d" % source.integers(20)
        case "mixed" | "special":
            kinds = ("plain", "empty", "separated", "long", "bytes", "negative", "known")
            return draw_string(source, kinds[source.integers(len(kinds))], hints)
        case _:
            return plain


def _numbers(
    source: np.random.Generator, kind: str, hints: Hints, dtype: np.dtype, size: int, table_rows: int | None
) -> np.ndarray:
    if dtype.kind == "b":
        return source.integers(2, size=size).astype(dtype)
    if dtype.kind not in "iu":
        if kind == "empty":
            return np.zeros(size, dtype)
        if kind == "special":
            return source.choice([0.0, -0.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-40], size).astype(dtype)
        if kind in ("known", "mixed") and hints.numbers:
            return source.choice(np.array(hints.numbers), size).astype(dtype)
        return (source.standard_normal(size) * {"large": 100, "saturated": 10}.get(kind, 1)).astype(dtype)
    limits = np.iinfo(dtype)
    top = min(table_rows or _RANGE, limits.max)
    match kind:
        case "empty":
            chosen = np.zeros(size, np.int64)
        case "negative":
            chosen = source.integers(max(limits.min, -3), 2, size=size)
        case "large":
            chosen = source.integers(limits.max // 2, limits.max, size=size, dtype=dtype)
        case "special":
            chosen = source.choice(np.array([limits.min, limits.max, 0, 1], dtype), size)
        case "known" | "mixed":
            least, end = (limits.min, limits.max) if table_rows is None else (0, table_rows - 1)
            numbers = [int(number) for number in hints.numbers if least <= number <= end] or [0, *range(1, min(3, top))]
            chosen = source.choice(np.array(numbers), size)
        case "range":
            chosen = source.integers(top, size=size)
        case _:
            chosen = source.integers(min(10, top), size=size)
    return chosen.astype(dtype)
