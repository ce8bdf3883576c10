"""What ops make of tensors of rows, apart from how a graph's language names them.

Each function takes Tensors to the Tensor that the op makes, and raises JoinsRows where rows would meet. Axes may be
counted from the end. Operands whose values count rows are refused before these are called, but for those that say
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corelane.kernels.batching.axes import axis_in, not_the_rows, refuse_counts
from corelane.kernels.batching.tensor import (
    JoinsRows,
    Shape,
    Tensor,
    fixed,
    fresh,
    known,
    like,
    rows,
)
from corelane.kernels.compiler.sizes import Size

_ONE = Size.of(1)


def elementwise(*operands: Tensor) -> Tensor:
    """Broadcast as numpy does it. Only operands of equal rank may both have rows, else one's rows lie along another's
    second axis."""
    with_rows = [one for one in operands if one.is_rows]
    if not with_rows:
        if any(one.shape is None for one in operands):
            return fixed()
        return fixed(_broadcast([one.known_shape for one in operands]))
    rank, first = with_rows[0].rank, with_rows[0].known_shape[0]
    for one in operands:
        if one.is_rows:
            if one.rank != rank or one.known_shape[0] != first:
                raise JoinsRows("operands have their rows along different axes")
        elif one.rank > rank or (one.rank == rank and one.known_shape[0] != _ONE):
            raise JoinsRows("an operand of a fixed number of rows meets those of the request")
    rest = _broadcast(
        [one.known_shape[1:] if one.is_rows else one.known_shape[-(rank - 1) or rank :] for one in operands]
    )
    return rows((first, *rest))


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    rank = max((len(shape) for shape in shapes), default=0)
    sizes = []
    for axis in range(-rank, 0):
        here = {shape[axis] for shape in shapes if len(shape) >= -axis} - {_ONE}
        sizes.append(_ONE if not here else here.pop() if len(here) == 1 else fresh())
    return tuple(sizes)


def arithmetic(operation: str, left: Tensor, right: Tensor) -> Tensor:
    """Add, Subtract, Multiply or FloorDiv. Sizes are computed as sizes, a quotient only where it goes; operands may
    count rows there."""
    if left.values is not None and right.values is not None:
        pairs = np.broadcast(left.values, right.values)
        sizes = [_computed(operation, *pair) for pair in pairs]
        if None not in sizes:
            made = np.empty(len(sizes), np.object_)
            made[:] = sizes
            return known(made.reshape(pairs.shape))
    refuse_counts([left, right])
    return elementwise(left, right)


def _computed(operation: str, left: Size, right: Size) -> Size | None:
    if operation == "Add":
        return left + right
    if operation == "Subtract":
        return left - right
    if operation == "Multiply":
        return left * right
    if left.constant is not None and right.constant:
        return Size.of(left.constant // right.constant)
    return left.divided_by(right) if right.terms else None


def shape_of(tensor: Tensor) -> Tensor:
    """Its sizes, which may count rows."""
    if tensor.shape is None:
        return fixed()
    sizes = np.empty(len(tensor.shape), np.object_)
    sizes[:] = tensor.shape
    return known(sizes)


def one_hot(ids: Tensor, parameters: Sequence[Tensor], axis: int) -> Tensor:
    """`parameters` are the depth and the two values."""
    if any(one.is_rows for one in parameters):
        raise JoinsRows("a parameter of it is one of the request's rows")
    if ids.shape is None:
        return fixed()
    place = not_the_rows(ids, axis, more=1)
    numbers = parameters[0].constants()
    sizes = list(ids.known_shape)
    sizes.insert(place, fresh() if numbers is None else Size.of(int(numbers)))
    return like(ids, sizes)


def along(tensor: Tensor, axis: int) -> Tensor:
    """The shape stays, and what it makes of an axis stays within that axis (softmax, cumulative sums, sorting)."""
    if tensor.shape is None and not tensor.is_rows:
        return fixed()
    not_the_rows(tensor, axis)
    return like(tensor, tensor.shape)


def reduce(tensor: Tensor, axes: Sequence[int] | None, *, keep: bool) -> Tensor:
    """`axes` None: not known."""
    if not tensor.is_rows and (axes is None or tensor.shape is None):
        return fixed()
    if axes is None:
        raise JoinsRows("the axes that it reduces are not known")
    gone = {not_the_rows(tensor, axis) for axis in axes}
    shape = tensor.known_shape
    if keep:
        return like(tensor, [_ONE if axis in gone else size for axis, size in enumerate(shape)])
    return like(tensor, [size for axis, size in enumerate(shape) if axis not in gone])


def matmul(left: Tensor, right: Tensor, *, left_transposed: bool = False, right_transposed: bool = False) -> Tensor:
    """Of matrices or stacks of them, which are broadcast."""
    if not left.is_rows and not right.is_rows:
        return fixed()
    ranks = left.rank, right.rank
    if min(ranks) < 2:
        raise JoinsRows("a product with a vector")
    if left.is_rows and ranks[0] == 2:
        if left_transposed or right.is_rows or ranks[1] > 2:
            raise JoinsRows("it multiplies along the rows")
    elif right.is_rows and ranks[1] == 2:
        raise JoinsRows("it multiplies along the rows")
    elif left.is_rows and right.is_rows:
        if ranks[0] != ranks[1] or left.known_shape[0] != right.known_shape[0]:
            raise JoinsRows("operands have their rows along different axes")
    else:
        of_rows, other = (left, right) if left.is_rows else (right, left)
        if other.rank > of_rows.rank or (other.rank == of_rows.rank and other.known_shape[0] != _ONE):
            raise JoinsRows("an operand of a fixed number of rows meets those of the request")
    height = left.known_shape[-1 if left_transposed else -2]
    width = right.known_shape[-2 if right_transposed else -1]
    if ranks[0] == 2 and left.is_rows:
        return rows((left.known_shape[0], width))
    stacks = [one.known_shape[:-2] for one in (left, right)]
    first = (left if left.is_rows else right).known_shape[0]
    rest = _broadcast([stack[1:] if len(stack) == max(ranks) - 2 else stack for stack in stacks])
    return rows((first, *rest, height, width))


def einsum(equation: str, operands: Sequence[Tensor]) -> Tensor:
    """The rows' letter comes first in each operand that has rows, and in the result, and nowhere else."""
    if not any(one.is_rows for one in operands):
        return fixed()
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != len(operands):
        raise JoinsRows(f"the equation {equation} is not understood")
    of_rows = {term[:1] for term, one in zip(terms, operands, strict=True) if one.is_rows}
    if len(of_rows) != 1 or result[:1] != (letter := of_rows.pop()) or result.count(letter) != 1:
        raise JoinsRows(f"the rows are summed up or moved by {equation}")
    sizes: dict[str, Size] = {}
    first: set[Size] = set()
    for term, one in zip(terms, operands, strict=True):
        if term.count(letter) != one.is_rows or len(term) != one.rank:
            raise JoinsRows(f"the rows are summed up or moved by {equation}")
        if one.is_rows:
            first.add(one.known_shape[0])
        sizes.update(zip(term, one.known_shape, strict=True))
    if len(first) != 1:
        raise JoinsRows("operands have different numbers of rows")
    return rows([sizes[name] for name in result])


def gather(params: Tensor, ids: Tensor, axis: int | None, batch_axes: int = 0) -> Tensor:
    """Rows of a table by ids, or places of each row. `params` may count rows."""
    if params.values is not None and not ids.is_rows and batch_axes == 0 and params.values.ndim == 1:
        numbers = ids.constants()
        if numbers is not None:
            return known(np.asarray(params.values[numbers], np.object_))
    refuse_counts([params, ids])
    if not params.is_rows and not ids.is_rows:
        return fixed()
    if axis is None:
        raise JoinsRows("the axis is not known")
    place = axis_in(params, axis)
    if batch_axes < 0:
        batch_axes += ids.rank
    shape = (*params.known_shape[:place], *ids.known_shape[batch_axes:], *params.known_shape[place + 1 :])
    if params.is_rows and ids.is_rows:
        if batch_axes < 1 or place < batch_axes or params.known_shape[0] != ids.known_shape[0]:
            raise JoinsRows("ids of one row look into the rows of others")
    elif params.is_rows:
        if batch_axes or place == 0:
            raise JoinsRows("it picks rows")
    elif batch_axes or place != 0:
        raise JoinsRows("the rows do not stay along the first axis")
    return rows(shape)
