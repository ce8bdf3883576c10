"""TensorFlow's ops by what they do to rows: shapes, slices, concatenations."""

from __future__ import annotations

import numpy as np

from corelane.kernels.batching import layout, slices, transfer
from corelane.kernels.batching.axes import not_the_rows, refuse_counts
from corelane.kernels.batching.registry import Rule, rule
from corelane.kernels.batching.slices import MASKS
from corelane.kernels.batching.tensor import VALUES_MAX, JoinsRows, Tensor, fixed, fresh, known, like
from corelane.kernels.batching.tensorflow_rules import Body, Node, axis_of, scalar_of
from corelane.kernels.compiler.sizes import Size, product


@rule("ConcatV2", counts=True)
def concat(node: Node, operands: list[Tensor]) -> Tensor:
    return layout.concat(operands[:-1], scalar_of(operands[-1]))


@rule("Pack", counts=True)
def pack(node: Node, operands: list[Tensor]) -> Tensor:
    return layout.stack(operands, node.number("axis"))


@rule("Unpack")
def unpack(node: Node, operands: list[Tensor]) -> list[Tensor]:
    return [layout.without_axis(operands[0], node.number("axis"))] * node.number("num")


@rule("Split")
def split(node: Node, operands: list[Tensor]) -> list[Tensor]:
    axis, tensor = axis_of(operands[0], operands[1]), operands[1]
    count = node.number("num_split")
    if axis is None:
        return [fixed()] * count
    size = tensor.known_shape[not_the_rows(tensor, axis)].divided_by(Size.of(count))
    part = layout.with_size(tensor, axis, fresh() if size is None else size)
    return [part] * count


@rule("SplitV")
def split_sizes(node: Node, operands: list[Tensor]) -> list[Tensor]:
    tensor, sizes, axis = operands[0], operands[1].constants(), axis_of(operands[2], operands[0])
    count = node.number("num_split")
    if axis is None:
        return [fixed()] * count
    chosen = [None] * count if sizes is None else [None if size < 0 else int(size) for size in sizes.ravel()]
    return [layout.with_size(tensor, axis, size) for size in chosen]


@rule("Reshape", counts=True)
def reshape(node: Node, operands: list[Tensor]) -> Tensor:
    tensor, target = operands
    if tensor.counts_rows and tensor.values is None:
        raise JoinsRows("it computes with the number of rows")
    return layout.reshape(tensor, target)


@rule("ExpandDims", counts=True)
def expand(node: Node, operands: list[Tensor]) -> Tensor:
    axis = scalar_of(operands[1])
    if axis is None:
        if operands[0].is_rows or operands[0].counts_rows:
            raise JoinsRows("the axis is not known")
        return fixed()
    return layout.expand(operands[0], [axis])


@rule("Squeeze", counts=True)
def squeeze(node: Node, operands: list[Tensor]) -> Tensor:
    return layout.squeeze(operands[0], node.numbers("squeeze_dims"))


@rule("Transpose")
def transpose(node: Node, operands: list[Tensor]) -> Tensor:
    order = operands[1].constants()
    return layout.transpose(operands[0], None if order is None else [int(axis) for axis in order])


@rule("Shape")
def shape(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.shape_of(operands[0])


@rule("ShapeN")
def shapes(node: Node, operands: list[Tensor]) -> list[Tensor]:
    return [transfer.shape_of(one) for one in operands]


@rule("Size")
def size(node: Node, operands: list[Tensor]) -> Tensor:
    if operands[0].shape is None:
        return fixed(())
    made = np.empty((), np.object_)
    made[()] = product(operands[0].shape)
    return known(made)


@rule("Rank")
def rank(node: Node, operands: list[Tensor]) -> Tensor:
    return fixed(()) if operands[0].shape is None else known(np.array(operands[0].rank))


@rule("Pad PadV2 MirrorPad")
def pad(node: Node, operands: list[Tensor]) -> Tensor:
    tensor, amounts = operands[:2]
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    numbers = amounts.constants()
    if not tensor.is_rows and (tensor.shape is None or numbers is None):
        return fixed()
    if numbers is None or (tensor.is_rows and numbers[0].any()):
        raise JoinsRows("it adds rows")
    return like(tensor, [size + int(amount.sum()) for size, amount in zip(tensor.known_shape, numbers, strict=True)])


@rule("Fill", counts=True)
def fill(node: Node, operands: list[Tensor]) -> Tensor:
    sizes, value = operands
    if value.is_rows or value.counts_rows:
        raise JoinsRows("it fills with one of the request's rows")
    return fixed() if sizes.values is None else layout.made_of(list(sizes.values))


@rule("Tile", counts=True)
def tile(node: Node, operands: list[Tensor]) -> Tensor:
    refuse_counts(operands[:1])
    return layout.tile(*operands)


@rule("BroadcastTo", counts=True)
def broadcast_to(node: Node, operands: list[Tensor]) -> Tensor:
    refuse_counts(operands[:1])
    return layout.broadcast_to(*operands)


@rule("Range")
def range_(node: Node, operands: list[Tensor]) -> Tensor:
    numbers = [one.constants() for one in operands]
    if any(one.is_rows for one in operands):
        raise JoinsRows("it counts by one of the request's rows")
    if any(one is None for one in numbers):
        return fixed([fresh()])
    start, limit, step = (int(one) for one in numbers if one is not None)
    size = max(0, -(-(limit - start) // step))
    return known(np.arange(start, limit, step)) if size <= VALUES_MAX else fixed([size])


@rule("StridedSlice", counts=True)
def strided_slice(node: Node, operands: list[Tensor]) -> Tensor:
    masks = {name: node.number(f"{name}_mask") for name in MASKS}
    return slices.strided(*operands, masks=masks)


@rule("Slice", counts=True)
def slice_(node: Node, operands: list[Tensor]) -> Tensor:
    return slices.by_sizes(*operands)


RULES: tuple[Rule[Body], ...] = (
    concat,
    pack,
    unpack,
    split,
    split_sizes,
    reshape,
    expand,
    squeeze,
    transpose,
    shape,
    shapes,
    size,
    rank,
    pad,
    fill,
    tile,
    broadcast_to,
    range_,
    strided_slice,
    slice_,
)
