"""Which axis is meant, and what may not be done with the one of rows."""

from __future__ import annotations

from collections.abc import Sequence

from corelane.kernels.batching.tensor import JoinsRows, Tensor


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


def refuse_counts(operands: Sequence[Tensor]) -> None:
    """JoinsRows if one of them has the number of rows among its values."""
    if any(one.counts_rows for one in operands):
        raise JoinsRows("it computes with the number of rows")
