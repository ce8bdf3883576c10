"""Features of serialized tf.Examples: dense ones, and sparse ones of any length."""

from collections.abc import Sequence
from typing import Any

from corelane.kernels.compiler.analysis import KINDS, Analysis, attribute, rule
from corelane.kernels.compiler.common import sizes_of
from corelane.kernels.compiler.sizes import BATCH, Size
from corelane.kernels.compiler.terms import Coordinates, Known, Term, Vector
from corelane.kernels.compiler.values import operand
from corelane.kernels.graph.constants import STRING


@rule("tf.Example", "ParseExampleV2")
def parse_v2(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    serialized, _, sparse, dense, ragged, *defaults = inputs
    if not all(isinstance(keys, Known) for keys in (sparse, dense, ragged)):
        return None
    assert isinstance(sparse, Known) and isinstance(dense, Known) and isinstance(ragged, Known)
    if ragged.array.size:
        return None
    return _parse(analysis, node, serialized, _names(sparse), _names(dense), defaults)


@rule("tf.Example", "ParseExample")
def parse_v1(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    sparse, dense = attribute(node, "Nsparse", 0), attribute(node, "Ndense", 0)
    keys = [key for key in inputs[2 : 2 + sparse + dense] if isinstance(key, Known) and key.array.size == 1]
    if len(keys) < sparse + dense:
        return None
    names = [name for key in keys for name in _names(key)]
    return _parse(analysis, node, inputs[0], names[:sparse], names[sparse:], inputs[2 + sparse + dense :])


def _names(keys: Known) -> list[bytes]:
    return [bytes(key) for key in keys.array.ravel()]


def _parse(
    analysis: Analysis,
    node: Any,
    serialized: Term,
    sparse: Sequence[bytes],
    keys: Sequence[bytes],
    defaults: Sequence[Term],
) -> list[Term] | None:
    if not isinstance(serialized, Vector) or serialized.dtype != STRING or serialized.shape != (BATCH,):
        return None
    found = _sparse(analysis, serialized.value, sparse, attribute(node, "sparse_types").type if sparse else ())
    if found is None:
        return None
    if not keys:
        return found
    types, shapes = attribute(node, "Tdense").type, attribute(node, "dense_shapes").shape
    for key, dtype, shape, default in zip(keys, types, shapes, defaults, strict=True):
        sizes = [dim.size for dim in shape.dim]
        if dtype not in KINDS or shape.unknown_rank or any(size < 1 for size in sizes):
            return None
        if not isinstance(default, Known) or default.array.size > 1:
            return None  # several defaults, or unknown ones
        count = 1
        for size in sizes:
            count *= size
        attributes: dict[str, Any] = {"text": key, "number": count, "flag": default.array.size == 1}
        if default.array.size:
            element = default.array.ravel()[0]
            attributes |= operand(KINDS[dtype], element, ints="other", strings="other_text")
        value = analysis.values.add("parse", (serialized.value,), kind=KINDS[dtype], domain=BATCH * count, **attributes)
        found.append(Vector(value, (BATCH, *map(Size.of, sizes)), dtype))
    return found


def _sparse(analysis: Analysis, serialized: int, keys: Sequence[bytes], types: Sequence[int]) -> list[Term] | None:
    """Coordinates of each, then values, then shapes."""
    values = analysis.values
    where: list[Term] = []
    what: list[Term] = []
    shapes: list[Term] = []
    for key, dtype in zip(keys, types, strict=True):
        if dtype not in KINDS:
            return None
        kind = KINDS[dtype]
        # As of a split: making either makes both.
        rows = values.add("parse_rows", (serialized,), kind="rows", domain=BATCH, text=key, values=kind)
        found = values.add("parse_rows", (serialized,), kind=kind, domain=rows, text=key, values=kind)
        shape = (BATCH, Size.symbol("width", rows))
        where.append(Coordinates(rows, shape))
        what.append(Vector(found, (values.length(rows),), dtype))
        shapes.append(sizes_of(list(shape)))
    return [*where, *what, *shapes]
