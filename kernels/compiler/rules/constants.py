"""Constants, and what passes its input on."""

from typing import Any

from corelane.kernels.compiler.analysis import Analysis, attribute, rule
from corelane.kernels.compiler.sizes import Size
from corelane.kernels.compiler.terms import Known, Opaque, Same, Shape, Sizes, Term, shape_of
from corelane.kernels.graph.constants import array_of


@rule("constant", "Const")
def constant(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    array = array_of(node.attr["value"].tensor)
    return None if array is None else Known(array)


@rule("identity", "Identity", "StopGradient", "Snapshot", "PreventGradient", "CheckNumerics", "PlaceholderWithDefault")
def identity(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    if node.op in ("CheckNumerics", "PlaceholderWithDefault") or isinstance(inputs[0], Opaque):
        return None
    return inputs[0]


@rule("identities", "IdentityN")
def identities(analysis: Analysis, node: Any, inputs: list[Term]) -> list[Term]:
    return inputs


@rule("same everywhere", "ZerosLike", "OnesLike")
def like(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    shape = shape_of(inputs[0])
    return None if shape is None else Same(int(node.op == "OnesLike"), shape, attribute(node, "T"))


@rule("same everywhere", "Fill")
def fill(analysis: Analysis, node: Any, inputs: list[Term]) -> Term | None:
    shape, value = shape_vector(inputs[0]), inputs[1]
    if shape is None or not isinstance(value, Known) or value.array.ndim:
        return None
    return Same(value.array.item(), shape, attribute(node, "T"))


def shape_vector(term: Term) -> Shape | None:
    """A shape that is given as a tensor."""
    if isinstance(term, Sizes) and term.values.ndim == 1:
        return tuple(term.values)
    if isinstance(term, Known) and term.array.ndim == 1 and term.array.dtype.kind == "i":
        return tuple(Size.of(int(size)) if size >= 0 else _RESOLVE for size in term.array)
    return None


# The -1 of Reshape; negative sizes are nothing else.
_RESOLVE = Size.of(-1)
