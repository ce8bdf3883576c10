"""Slices of tensors of rows: all rows must be taken, as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from corelane.kernels.batching.axes import refuse_counts
from corelane.kernels.batching.tensor import JoinsRows, Tensor, depends_on_batch, fixed, fresh, known, rows
from corelane.kernels.compiler.sizes import Size

MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")


def strided(tensor: Tensor, begin: Tensor, end: Tensor, strides: Tensor, *, masks: Mapping[str, int]) -> Tensor:
    """`masks` are of bits, by the names in MASKS: which entries have no bound, stand for several axes, add an axis or
    take one element. The tensor may count rows, and so may its bounds."""
    bounds = [one.constants() for one in (begin, end, strides)]
    single = all(one is not None and one.size == 1 for one in bounds)
    if tensor.values is not None and tensor.values.ndim == 1 and single:
        return _of_sizes(tensor.values, [int(one.item()) for one in bounds if one is not None], masks)
    refuse_counts([tensor])
    if not tensor.is_rows:
        refuse_counts([begin, end, strides])
        return fixed()
    if any(one.is_rows for one in (begin, end, strides)):
        raise JoinsRows("its bounds are of the request's rows")
    entries = begin.known_shape[0].constant
    if entries is None or bounds[2] is None:
        raise JoinsRows("its bounds are not known")
    return _of_rows(tensor, begin, end, bounds[2], masks, entries)


def by_sizes(tensor: Tensor, begin: Tensor, sizes: Tensor) -> Tensor:
    """A size of -1 is all that is left."""
    refuse_counts([tensor])
    if not tensor.is_rows:
        refuse_counts([begin, sizes])
        return fixed()
    if begin.values is None or sizes.values is None:
        raise JoinsRows("its bounds are not known")
    if begin.values[0] != Size.of(0) or sizes.values[0] not in (Size.of(-1), tensor.known_shape[0]):
        raise JoinsRows("it picks rows")
    made = [tensor.known_shape[0]]
    for first, size in zip(begin.values[1:], sizes.values[1:], strict=True):
        if depends_on_batch(size) or depends_on_batch(first):
            raise JoinsRows("its bounds depend on the number of rows")
        made.append(fresh() if size == Size.of(-1) else size)
    return rows(made)


def _of_sizes(values: np.ndarray, bounds: Sequence[int], masks: Mapping[str, int]) -> Tensor:
    begin, end, stride = bounds
    if masks["ellipsis"] or masks["new_axis"]:
        refuse_counts([known(values)])
        return fixed()
    if masks["shrink_axis"]:
        made = np.empty((), np.object_)
        made[()] = values[begin]
        return known(made)
    return known(values[slice(None if masks["begin"] else begin, None if masks["end"] else end, stride)])


def _of_rows(
    tensor: Tensor, begin: Tensor, end: Tensor, strides: np.ndarray, masks: Mapping[str, int], entries: int
) -> Tensor:
    """The first entry must take all rows, as they come."""

    def has(name: str, entry: int) -> bool:
        return bool(masks[name] >> entry & 1)

    used = sum(not has("new_axis", entry) and not has("ellipsis", entry) for entry in range(entries))
    sizes: list[Size | int] = []
    axis = 0
    for entry in range(entries):
        if has("ellipsis", entry):
            here = tensor.rank - used
            sizes += tensor.known_shape[axis : axis + here]
            axis += here
        elif has("new_axis", entry):
            if axis == 0:
                raise JoinsRows("the rows do not stay along the first axis")
            sizes.append(1)
        else:
            size = tensor.known_shape[axis]
            begins = has("begin", entry) or _entry(begin, entry) == Size.of(0)
            ends = has("end", entry) or _entry(end, entry) == size
            whole = begins and ends and int(strides[entry]) == 1 and not has("shrink_axis", entry)
            if axis == 0 and not whole:
                raise JoinsRows("it picks rows")
            if axis > 0 and any(_counts(bounds, entry) for bounds in (begin, end)):
                raise JoinsRows("its bounds depend on the number of rows")
            if not has("shrink_axis", entry):
                sizes.append(size if whole else fresh())
            axis += 1
    return rows([*sizes, *tensor.known_shape[axis:]])


def _counts(bounds: Tensor, entry: int) -> bool:
    size = _entry(bounds, entry)
    return size is not None and depends_on_batch(size)


def _entry(bounds: Tensor, entry: int) -> Size | None:
    return None if bounds.values is None else bounds.values[entry]
