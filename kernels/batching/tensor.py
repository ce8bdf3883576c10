"""What is known of a tensor when requests with any numbers of rows are run one behind the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corelane.kernels.compiler.sizes import BATCH, BATCH_SYMBOL, Size

Shape = tuple[Size, ...]
# Small tensors of whole numbers are followed by value: they are mostly shapes and axes.
VALUES_MAX = 256

_numbers = itertools.count()


# A graph that is not as its ops' definitions have it.
MALFORMED = (ArithmeticError, IndexError, KeyError, TypeError, ValueError)


class JoinsRows(Exception):
    """A tensor that is made of several rows at once, or of how many there are; the message says where."""


def fresh() -> Size:
    """A size that is not known, but is the same whatever the number of rows."""
    return Size.symbol("any", next(_numbers))


def depends_on_batch(size: Size) -> bool:
    return any(BATCH_SYMBOL in monomial for monomial, _ in size.terms)


def rows_factor(size: Size) -> Size | None:
    """m, if `size` is m times the number of rows and m does not depend on it; else None."""
    factor = size.divided_by(BATCH)
    return None if factor is None or depends_on_batch(factor) else factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """`is_rows`: the first axis has m elements for each row of the request (m is mostly 1), those of a row one after
    another, and they depend on that row of the inputs alone; no other axis depends on the number of rows. Otherwise
    the tensor is the same for every request, unless `values` has the number of rows in it.

    `shape` is None if not even the rank is known. `values` are an array of Sizes for small tensors of whole numbers
    that are known, the number of rows being a symbol; else None."""

    shape: Shape | None
    is_rows: bool = False
    values: np.ndarray | None = None

    @property
    def rank(self) -> int:
        """JoinsRows if it is not known."""
        return len(self.known_shape)

    @property
    def known_shape(self) -> Shape:
        """JoinsRows if not even the rank is known."""
        if self.shape is None:
            raise JoinsRows("the rank of an operand is not known")
        return self.shape

    @property
    def counts_rows(self) -> bool:
        """Whether its values depend on the number of rows."""
        return self.values is not None and any(depends_on_batch(size) for size in self.values.ravel())

    def constants(self) -> np.ndarray | None:
        """Its values as whole numbers, if all are known and depend on nothing."""
        if self.values is None:
            return None
        numbers = [size.constant for size in self.values.ravel()]
        if None in numbers:
            return None
        return np.array(numbers, np.int64).reshape(self.values.shape)


def rows(shape: Sequence[Size | int]) -> Tensor:
    """A tensor of rows. JoinsRows if the shape is not one of rows."""
    sizes = tuple(Size.of(size) for size in shape)
    if not sizes or rows_factor(sizes[0]) is None or any(depends_on_batch(size) for size in sizes[1:]):
        raise JoinsRows("the rows do not stay along the first axis")
    return Tensor(shape=sizes, is_rows=True)


def fixed(shape: Sequence[Size | int] | None = None) -> Tensor:
    """A tensor that is the same for every request. JoinsRows if its shape depends on the number of rows."""
    if shape is None:
        return Tensor(shape=None)
    sizes = tuple(Size.of(size) for size in shape)
    if any(depends_on_batch(size) for size in sizes):
        raise JoinsRows("a size depends on the number of rows")
    return Tensor(shape=sizes)


def known(values: np.ndarray) -> Tensor:
    """A tensor of whole numbers or Sizes that are known."""
    sizes = np.empty(values.shape, np.object_)
    for index in np.ndindex(values.shape):
        value = values[index]
        sizes[index] = value if isinstance(value, Size) else Size.of(int(value))
    return Tensor(shape=tuple(Size.of(size) for size in values.shape), values=sizes)


def like(tensor: Tensor, shape: Sequence[Size | int] | None) -> Tensor:
    """A tensor that depends on what `tensor` depends on, with another shape."""
    if tensor.is_rows:
        if shape is None:
            raise JoinsRows("the shape of rows is not known")
        return rows(shape)
    return fixed(shape)
