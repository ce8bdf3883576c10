"""Whether two engines answer alike: on recorded requests, and on inputs made to find where they do not.

A fused plan is taken only if it does. What the original refuses, the plan must refuse, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processor.engines import Engine
from processor.errors import RequestError
from processor.tensors import NUMPY_TYPES, Signature, SparseTriple, TensorSpec, sparse_triples
from processor.wire import messages
from processor.worker import samples

TOLERANCE = 1e-5  # of the largest output: sums run in another order
_SEPARATORS = (b";", b",", b"|", b" ", b"\t", b"\x01", b"\x02", b":", b"#")
_BATCHES = (1, 2, 7, 64)
_HUGE = 1000
_OPEN_AXIS = 3  # of an axis that may have any size
_ROUNDS = 3
_WIDE = 100  # inputs; such models are tried at many places by one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the model looks for: separators and vocabulary of strings, numbers at which something changes."""

    separators: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()
    features: tuple[tuple[bytes, str, int | None], ...] = ()  # of tf.Examples: key, kind, how many values or any
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """`difference` is the largest of a float, by the largest of its output; `problem` says what differs too much, or
    is None. `accepted` of `requests` were not refused by both."""

    requests: int
    accepted: int
    difference: float
    problem: str | None


def compare(original: Engine, other: Engine, folder: Path, hints: Hints, bytes_max: int = 1 << 30) -> Equality:
    """Runs both until they differ. `folder` may hold recorded requests."""
    sessions = original.make_session(), other.make_session()
    requests = accepted = 0
    largest = 0.0
    for name, inputs in _requests(original, folder, hints, bytes_max):
        if name not in other.signatures():
            return Equality(requests=requests, accepted=accepted, difference=largest, problem=f"no signature {name}")
        requests += 1
        expected = _run(original, sessions[0], name, inputs)
        if isinstance(expected, str) and not any(array.size for array in inputs.values()):
            continue  # some graphs refuse requests without rows; to answer nothing with nothing is no error
        found = _run(other, sessions[1], name, inputs)
        difference = _difference(expected, found, is_finite=_is_finite(inputs))
        if isinstance(difference, str):
            told = f"signature {name}: {difference}, for {_told(inputs)}"
            return Equality(requests=requests, accepted=accepted, difference=largest, problem=told)
        accepted += not isinstance(expected, str)
        largest = max(largest, difference)
    problem = None if accepted else "every request made up is refused, so that nothing was compared"
    return Equality(requests=requests, accepted=accepted, difference=largest, problem=problem)


def _run(engine: Engine, session: object, name: str, inputs: samples.Inputs) -> dict[str, np.ndarray] | str:
    signature = engine.signatures()[name]
    try:
        return engine.run(session, signature, inputs, list(signature.outputs))
    except RequestError as error:
        return str(error)


def _is_finite(inputs: samples.Inputs) -> bool:
    return all(np.isfinite(array).all() for array in inputs.values() if array.dtype.kind == "f")


def _difference(
    expected: dict[str, np.ndarray] | str, found: dict[str, np.ndarray] | str, *, is_finite: bool
) -> float | str:
    """A relative difference, or what is wrong in words. `is_finite`: the request's numbers are."""
    if isinstance(expected, str) or isinstance(found, str):
        if isinstance(expected, str) and isinstance(found, str):
            return 0.0
        return (
            f"it answers what the original refuses ({expected})" if isinstance(expected, str) else f"refused: {found}"
        )
    largest = 0.0
    for name, wanted in expected.items():
        array = found[name]
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            return f"output {name} is {array.dtype}{array.shape} and not {wanted.dtype}{wanted.shape}"
        if wanted.dtype.kind not in "f":
            if not np.array_equal(array, wanted):
                return f"output {name} differs"
            continue
        # What becomes of NaN and infinity in a dense layer is not the same in any two libraries, nor in TensorFlow with
        # weights as variables and as constants.
        finite = np.isfinite(wanted) if is_finite else np.isfinite(wanted) & np.isfinite(array)
        if not np.isfinite(array[finite]).all():
            return f"output {name} is not finite"
        scale = float(np.abs(wanted[finite]).max(initial=1e-30))
        difference = float(np.abs(array[finite] - wanted[finite]).max(initial=0.0)) / scale
        if difference > TOLERANCE:
            return f"output {name} is {difference:.2g} away"
        largest = max(largest, difference)
    return largest


def _told(inputs: samples.Inputs) -> str:
    return ", ".join(f"{name}={array.ravel()[:3].tolist()!r:.60}" for name, array in list(inputs.items())[:3])


def _requests(engine: Engine, folder: Path, hints: Hints, bytes_max: int) -> Iterator[tuple[str, samples.Inputs]]:
    for signature, inputs in samples.recorded(folder, engine.signatures(), bytes_max):
        yield signature.name, inputs
    for signature in engine.signatures().values():
        yield from ((signature.name, inputs) for inputs in _examples(signature, hints))
        source = np.random.default_rng(1)
        for inputs in samples.made_up(signature):
            yield signature.name, inputs
        for kind in _KINDS:
            for rows in _BATCHES:
                for _ in range(_ROUNDS if len(signature.inputs) <= _WIDE else 1):
                    yield signature.name, _batch(signature, source, kind, [rows] * len(signature.inputs), hints)
        count = len(signature.inputs)
        yield signature.name, _batch(signature, source, "plain", [_HUGE] * count, hints)
        yield signature.name, _batch(signature, source, "plain", [0] * count, hints)
        if count > 1:
            # Not every input has as many rows: does the model mind?
            for odd in range(min(count, 4)):
                apart = [3 if index == odd else 1 for index in range(count)]
                yield signature.name, _batch(signature, source, "plain", apart, hints)


def _examples(signature: Signature, hints: Hints) -> Iterator[samples.Inputs]:
    """Serialized tf.Examples, if the signature takes them: whole ones, with features left out, empty or of another
    type or length, and what is no Example at all."""
    if len(signature.inputs) != 1 or not hints.features:
        return
    ((name, spec),) = signature.inputs.items()
    if spec.dtype != "DT_STRING" or spec.shape != (-1,):
        return
    source = np.random.default_rng(2)
    for kind in ("plain", "mixed", "empty", "known", "large", "special", "separated", "bytes"):
        for damage in ("none", "missing", "missing", "type", "length", "cut", "cut", "cut"):
            rows = np.empty(4, np.object_)
            rows[:] = [_example(source, kind, damage if row == 2 else "none", hints) for row in range(len(rows))]
            yield {name: rows}


def _example(source: np.random.Generator, kind: str, damage: str, hints: Hints) -> bytes:
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
            feature.bytes_list.value.extend(_string(source, kind, hints) for _ in range(length))
        elif values == "ints":
            feature.int64_list.value.extend(_numbers(source, kind, hints, np.dtype(np.int64), length).tolist())
        else:
            feature.float_list.value.extend(_numbers(source, kind, hints, np.dtype(np.float32), length).tolist())
    data = example.SerializeToString()
    return data[: source.integers(len(data) + 1)] if damage == "cut" else data


# Each is tried by itself, so that a kind that the model refuses does not keep the others from being compared.
_KINDS = ("plain", "mixed", "empty", "duplicate", "separated", "long", "bytes", "negative", "large", "known", "special")


def _batch(
    signature: Signature, source: np.random.Generator, kind: str, rows: Sequence[int], hints: Hints
) -> samples.Inputs:
    found = {}
    for (name, spec), count in zip(signature.inputs.items(), rows, strict=True):
        shape = _shape(spec, count)
        size = int(np.prod(shape))
        if spec.dtype == "DT_STRING":
            values = np.empty(size, np.object_)
            values[:] = [_string(source, kind, hints) for _ in range(size)]
            found[name] = values.reshape(shape)
        else:
            found[name] = _numbers(source, kind, hints, NUMPY_TYPES[spec.dtype], size).reshape(shape)
        if kind == "duplicate" and size:
            found[name][...] = found[name].ravel()[0]
    for one in sparse_triples(signature):
        count = rows[list(signature.inputs).index(one.indices)]
        found |= _sparse(signature, one, source, kind, count, hints)
    return found


def _sparse(
    signature: Signature, one: SparseTriple, source: np.random.Generator, kind: str, rows: int, hints: Hints
) -> samples.Inputs:
    """A sparse tensor of rows with up to three elements."""
    lengths = source.integers(_OPEN_AXIS + 1, size=rows)
    places = [(row, place) for row, length in enumerate(lengths) for place in range(length)]
    spec, size = signature.inputs[one.values], len(places)
    if spec.dtype == "DT_STRING":
        values = np.empty(size, np.object_)
        values[:] = [_string(source, kind, hints) for _ in range(size)]
    else:
        values = _numbers(source, kind, hints, NUMPY_TYPES[spec.dtype], size)
    return {
        one.indices: np.array(places, np.int64).reshape(size, 2),
        one.values: values,
        one.shape: np.array([rows, _OPEN_AXIS], np.int64),
    }


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    sizes = spec.shape if spec.shape is not None else (-1,)
    return tuple(
        rows if axis == 0 and size == -1 else _OPEN_AXIS if size == -1 else size for axis, size in enumerate(sizes)
    )


def _string(source: np.random.Generator, kind: str, hints: Hints) -> bytes:
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
            return _string(source, kinds[source.integers(len(kinds))], hints)
        case _:
            return plain


def _numbers(source: np.random.Generator, kind: str, hints: Hints, dtype: np.dtype, size: int) -> np.ndarray:
    if dtype.kind == "b":
        return source.integers(2, size=size).astype(dtype)
    if dtype.kind == "f":
        if kind == "special":
            return source.choice([0.0, -0.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-40], size).astype(dtype)
        if kind in ("known", "mixed") and hints.numbers:
            return source.choice(np.array(hints.numbers), size).astype(dtype)
        return (source.standard_normal(size) * (100 if kind == "large" else 1)).astype(dtype)
    limits = np.iinfo(dtype)
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
            ints = [int(number) for number in hints.numbers if limits.min <= number <= limits.max] or [0, 1, 2]
            chosen = source.choice(np.array(ints), size)
        case _:
            chosen = source.integers(10, size=size)
    return chosen.astype(dtype)
