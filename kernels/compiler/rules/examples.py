"""Dense features of serialized tf.Examples."""

from collections.abc import Sequence
from typing import Any

from kernels.compiler.analysis import KINDS, Analysis, attribute, rule
from kernels.compiler.sizes import BATCH, Size
from kernels.compiler.terms import Known, Term, Vector
from kernels.compiler.values import operand
from kernels.graph.constants import STRING


@rule("tf.Example", "ParseExampleV2")
def parse_v2(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    serialized, _, sparse, dense, ragged, *defaults = inputs
    if not all(isinstance(keys, Known) for keys in (sparse, dense, ragged)):
        return None
    assert isinstance(sparse, Known) and isinstance(dense, Known) and isinstance(ragged, Known)
    if sparse.array.size or ragged.array.size:
        return None
    return _parse(analysis, node, serialized, [bytes(key) for key in dense.array.ravel()], defaults)


@rule("tf.Example", "ParseExample")
def parse_v1(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term] | None:
    if attribute(node, "Nsparse", 0):
        return None
    count = attribute(node, "Ndense", 0)
    keys = inputs[2 : 2 + count]
    if any(not isinstance(key, Known) or key.array.size != 1 for key in keys):
        return None
    names = [bytes(key.array.ravel()[0]) for key in keys if isinstance(key, Known)]
    return _parse(analysis, node, inputs[0], names, inputs[2 + count :])


def _parse(
    analysis: Analysis, node: Any, serialized: Term, keys: Sequence[bytes], defaults: Sequence[Term]
) -> list[Term] | None:
    if not isinstance(serialized, Vector) or serialized.dtype != STRING or serialized.shape != (BATCH,):
        return None
    found: list[Term] = []
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
