"""Where ops put the elements of tensors of rows: shapes, axes, concatenations, copies.

Functions are as those of `transfer`: Tensors in, the Tensor that the op makes out, JoinsRows where rows would meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corelane.kernels.batching.axes import axis_in, not_the_rows, refuse_counts
from corelane.kernels.batching.tensor import (
    JoinsRows,
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
