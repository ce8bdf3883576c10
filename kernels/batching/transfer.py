"""What ops make of tensors of rows, apart from how a graph's language names them.

Each function takes Tensors to the Tensor that the op makes, and raises JoinsRows where rows would meet. Axes may be
counted from the end. Operands whose values count rows are refused before these are called, but for those that say
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corelane.kernels.batching.tensor import (
    JoinsRows,
    Shape,
    Tensor,
    depends_on_batch,
    fixed,
    fresh,
    known,
    like,
    rows,
    rows_factor,
)
from corelane.kernels.compiler.sizes import Size, product

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


def axis_in(tensor: Tensor, axis: int, *, more: int = 0) -> int:
    """An axis counted from the beginning; `more` axes are added to those of the tensor."""
    rank = tensor.rank + more
    if not -rank <= axis < rank:
        raise JoinsRows(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank if rank else 0


def not_the_rows(tensor: Tensor, axis: int, *, more: int = 0) -> int:
    """The same; JoinsRows if it is the axis of rows."""
    found = axis_in(tensor, axis, more=more)
    if tensor.is_rows and found == 0:
        raise JoinsRows("it works along the rows")
    return found


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


def concat(operands: Sequence[Tensor], axis: int | None) -> Tensor:
    """Operands may count rows: vectors of sizes are put together."""
    if axis is not None and all(one.values is not None and one.values.ndim == 1 for one in operands):
        return known(np.concatenate([one.values for one in operands if one.values is not None]))
    refuse_counts(operands)
    if not any(one.is_rows for one in operands):
        return fixed()
    if axis is None:
        raise JoinsRows("the axis is not known")
    first = next(one for one in operands if one.is_rows)
    place = not_the_rows(first, axis)
    sizes = list(first.known_shape)
    for one in operands:
        if not one.is_rows or one.rank != first.rank or one.known_shape[0] != sizes[0]:
            raise JoinsRows("an operand of a fixed number of rows meets those of the request")
    total = Size.of(0)
    for one in operands:
        total = total + one.known_shape[place]
    sizes[place] = total
    return rows(sizes)


def stack(operands: Sequence[Tensor], axis: int) -> Tensor:
    """Along a new axis. Operands may count rows: sizes are put together."""
    if all(one.values is not None and one.values.ndim == 0 for one in operands):
        return known(np.array([one.values.item() for one in operands if one.values is not None], np.object_))
    refuse_counts(operands)
    if not any(one.is_rows for one in operands):
        return fixed()
    first = next(one for one in operands if one.is_rows)
    place = not_the_rows(first, axis, more=1)
    for one in operands:
        if not one.is_rows or one.rank != first.rank or one.known_shape[0] != first.known_shape[0]:
            raise JoinsRows("an operand of a fixed number of rows meets those of the request")
    sizes = list(first.known_shape)
    sizes.insert(place, Size.of(len(operands)))
    return rows(sizes)


def without_axis(tensor: Tensor, axis: int) -> Tensor:
    """One element along an axis."""
    if not tensor.is_rows and tensor.shape is None:
        return fixed()
    place = not_the_rows(tensor, axis)
    return like(tensor, [size for number, size in enumerate(tensor.known_shape) if number != place])


def with_size(tensor: Tensor, axis: int, size: Size | int | None) -> Tensor:
    """Another number of elements along an axis; None: not known."""
    if not tensor.is_rows and tensor.shape is None:
        return fixed()
    place = not_the_rows(tensor, axis)
    sizes: list[Size | int] = list(tensor.known_shape)
    sizes[place] = fresh() if size is None else size
    return like(tensor, sizes)


def reshape(tensor: Tensor, target: Tensor, *, zero_copies: bool = False) -> Tensor:
    """Row-major: the elements of a row stay together as long as the first size is a multiple of the number of rows, and
    no other depends on it. `target` may count rows. `zero_copies`: a zero stands for the size that was there."""
    if target.values is None:
        if tensor.is_rows:
            raise JoinsRows("the new shape is not known")
        return fixed()
    sizes = list(target.values.ravel())
    if zero_copies:
        sizes = [tensor.known_shape[axis] if size == Size.of(0) else size for axis, size in enumerate(sizes)]
    if tensor.values is not None:
        refuse_counts([known(np.array(sizes, np.object_))])
        numbers = [size.constant for size in sizes]
        if None not in numbers:
            return known(tensor.values.reshape([int(number or 0) for number in numbers]))
        refuse_counts([tensor])
    open_axes = [axis for axis, size in enumerate(sizes) if size == Size.of(-1)]
    if len(open_axes) > 1:
        raise JoinsRows("a shape with two open sizes")
    if open_axes:
        others = product(tuple(size for size in sizes if size != Size.of(-1)))
        left = None if tensor.shape is None else product(tensor.shape).divided_by(others)
        if left is None:
            if open_axes[0] == 0 and tensor.is_rows:
                raise JoinsRows("whether rows stay whole is not known")
            left = fresh()
        sizes[open_axes[0]] = left
    return like(tensor, sizes)


def transpose(tensor: Tensor, order: Sequence[int] | None) -> Tensor:
    if not tensor.is_rows and (order is None or tensor.shape is None):
        return fixed()
    if order is None:
        raise JoinsRows("the order of axes is not known")
    order = [axis_in(tensor, axis) for axis in order]
    if tensor.is_rows and order[0] != 0:
        raise JoinsRows("the rows do not stay along the first axis")
    return like(tensor, [tensor.known_shape[axis] for axis in order])


def expand(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """New axes of one element. The tensor may count rows."""
    if not tensor.is_rows and tensor.shape is None:
        return fixed()
    places = {axis_in(tensor, axis, more=len(axes)) for axis in axes}
    if tensor.is_rows and 0 in places:
        raise JoinsRows("the rows do not stay along the first axis")
    if tensor.values is not None:
        return known(np.expand_dims(tensor.values, sorted(places)))
    sizes = iter(tensor.known_shape)
    return like(tensor, [_ONE if axis in places else next(sizes) for axis in range(tensor.rank + len(places))])


def squeeze(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Without `axes`, every axis of one element goes, and so does the rows' when there is one. The tensor may count
    rows."""
    if not tensor.is_rows and tensor.shape is None:
        return fixed()
    if not axes:
        if tensor.is_rows:
            raise JoinsRows("a single row would lose its axis")
        if any(size.constant is None for size in tensor.known_shape):
            return fixed()
        axes = [axis for axis, size in enumerate(tensor.known_shape) if size == _ONE]
    places = {not_the_rows(tensor, axis) for axis in axes}
    if tensor.values is not None:
        return known(np.squeeze(tensor.values, tuple(sorted(places))))
    return like(tensor, [size for axis, size in enumerate(tensor.known_shape) if axis not in places])


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


def tile(tensor: Tensor, times: Tensor) -> Tensor:
    """`times` may count rows: what is one row becomes as many as there are."""
    if times.values is None:
        if tensor.is_rows:
            raise JoinsRows("how often it repeats is not known")
        return fixed()
    factors = list(times.values.ravel())
    if tensor.shape is None:
        refuse_counts([times])
        return fixed()
    if len(factors) != tensor.rank:
        raise JoinsRows("it repeats along axes that are not there")
    if not factors:
        return like(tensor, ())
    if tensor.is_rows:
        if factors[0] != _ONE:
            raise JoinsRows("it repeats the rows")
    elif depends_on_batch(factors[0]) and tensor.known_shape[0] != _ONE:
        raise JoinsRows("a fixed number of rows is repeated for those of the request")
    return made_of([size * factor for size, factor in zip(tensor.known_shape, factors, strict=True)])


def made_of(sizes: Sequence[Size]) -> Tensor:
    """Equal rows for every row of the request if the first size counts them; else the same for all requests."""
    if sizes and rows_factor(sizes[0]) is not None:
        return rows(sizes)
    return fixed(sizes)


def broadcast_to(tensor: Tensor, target: Tensor) -> Tensor:
    """`target` may count rows."""
    if target.values is None:
        if tensor.is_rows:
            raise JoinsRows("the new shape is not known")
        return fixed()
    sizes = list(target.values.ravel())
    if tensor.is_rows:
        if tensor.rank != len(sizes) or sizes[0] != tensor.known_shape[0]:
            raise JoinsRows("the rows do not stay along the first axis")
        return rows(sizes)
    found = made_of(sizes)
    if found.is_rows and not (tensor.rank < len(sizes) or tensor.known_shape[0] == _ONE):
        raise JoinsRows("a fixed number of rows meets those of the request")
    return found


def refuse_counts(operands: Sequence[Tensor]) -> None:
    """JoinsRows if one of them has the number of rows among its values."""
    if any(one.counts_rows for one in operands):
        raise JoinsRows("it computes with the number of rows")
