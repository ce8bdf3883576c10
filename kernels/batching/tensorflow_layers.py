"""TensorFlow's ops by what they do to rows: layers of images, normalisation, parsed records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corelane.kernels.batching.registry import Rule, rule
from corelane.kernels.batching.tensor import JoinsRows, Tensor, fixed, fresh, like
from corelane.kernels.batching.tensorflow_rules import Body, Node


@rule("Conv2D DepthwiseConv2dNative Conv3D")
def convolution(node: Node, operands: list[Tensor]) -> Tensor:
    """The first axis is of images, in all layouts; how large they become is not needed."""
    image, kernel = operands[:2]
    if kernel.is_rows:
        raise JoinsRows("its kernel is made of the request's rows")
    strides = node.numbers("strides")
    if strides[:1] != [1]:
        raise JoinsRows("it passes over rows")
    return like(image, [image.known_shape[0], *(fresh() for _ in range(image.rank - 1))]) if image.is_rows else fixed()


@rule("MaxPool AvgPool MaxPool3D AvgPool3D")
def pooling(node: Node, operands: list[Tensor]) -> Tensor:
    (image,) = operands
    if node.numbers("ksize")[:1] != [1] or node.numbers("strides")[:1] != [1]:
        raise JoinsRows("it works along the rows")
    return like(image, [image.known_shape[0], *(fresh() for _ in range(image.rank - 1))]) if image.is_rows else fixed()


@rule("FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3")
def batch_norm(node: Node, operands: list[Tensor]) -> list[Tensor]:
    if node.flag("is_training") and any(one.is_rows for one in operands):
        raise JoinsRows("it normalises over the rows")
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    return [like(operands[0], operands[0].shape)]


@rule("ParseExampleV2")
def parse_example(node: Node, operands: list[Tensor]) -> list[Tensor | None]:
    """Dense features of a fixed shape come after three tensors of each sparse one; all else is padded to the longest
    row, or of no row."""
    serialized = operands[0]
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    sparse = node.number("num_sparse")
    return _parsed(serialized, sparse, node.shapes("dense_shapes"))


@rule("ParseExample")
def parse_example_1(node: Node, operands: list[Tensor]) -> list[Tensor | None]:
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    return _parsed(operands[0], node.number("Nsparse"), node.shapes("dense_shapes"))


def _parsed(serialized: Tensor, sparse: int, dense_shapes: Sequence[Any]) -> list[Tensor | None]:
    made: list[Tensor | None] = [None] * (3 * sparse)
    for declared in dense_shapes:
        sizes = [dim.size for dim in declared.dim]
        if declared.unknown_rank or any(size < 0 for size in sizes) or serialized.rank != 1:
            made.append(None)
        else:
            made.append(like(serialized, (serialized.known_shape[0], *sizes)))
    return made


@rule("DecodeCSV")
def decode_csv(node: Node, operands: list[Tensor]) -> list[Tensor]:
    records, *defaults = operands
    if any(one.is_rows for one in defaults):
        raise JoinsRows("a parameter of it is one of the request's rows")
    return [like(records, records.shape)] * len(defaults)


RULES: tuple[Rule[Body], ...] = (
    convolution,
    pooling,
    batch_norm,
    parse_example,
    parse_example_1,
    decode_csv,
)
