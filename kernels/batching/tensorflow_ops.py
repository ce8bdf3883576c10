"""TensorFlow's ops by what they do to rows: arithmetic, layout, lookups."""

from __future__ import annotations

import numpy as np

from corelane.kernels.batching import slices, transfer
from corelane.kernels.batching.slices import MASKS
from corelane.kernels.batching.tensor import VALUES_MAX, JoinsRows, Tensor, fixed, fresh, known, like, rows
from corelane.kernels.batching.tensorflow_rules import Node, rule
from corelane.kernels.compiler.sizes import Size, product
from corelane.kernels.graph.constants import INT32, INT64


@rule("""
    Abs Acos Acosh AsString Asin Asinh Atan Atanh BesselI0e BesselI1e Bucketize Ceil CheckNumerics CheckNumericsV2 Cos
    Cosh DecodeBase64 Digamma Elu EncodeBase64 Erf Erfc Erfinv Exp Expm1 Floor Inv Invert IsFinite IsInf IsNan
    LeakyRelu Lgamma Log Log1p LogicalNot Ndtri Neg OnesLike PlaceholderWithDefault PreventGradient Reciprocal
    RegexFullMatch RegexReplace Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square
    StaticRegexFullMatch StaticRegexReplace StopGradient StringLength StringLower StringStrip StringToHashBucket
    StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Tan Tanh ZerosLike
""")
def unary(node: Node, operands: list[Tensor]) -> Tensor:
    """Element by element; further operands are the same for all (a pattern, say)."""
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    return like(operands[0], operands[0].shape)


@rule("Identity Snapshot EnsureShape", counts=True)
def same(node: Node, operands: list[Tensor]) -> Tensor:
    return operands[0]


@rule("IdentityN", counts=True)
def same_each(node: Node, operands: list[Tensor]) -> list[Tensor]:
    return operands


@rule("Cast", counts=True)
def cast(node: Node, operands: list[Tensor]) -> Tensor:
    """Of sizes, between whole numbers; the number of rows as a float is a number like any other."""
    (tensor,) = operands
    if tensor.values is not None and node.dtype("DstT") in (INT32, INT64):
        return tensor
    transfer.refuse_counts(operands)
    return like(tensor, tensor.shape)


@rule("""
    AddN Atan2 BitwiseAnd BitwiseOr BitwiseXor Complex Div DivNoNan Equal FloorMod Greater GreaterEqual Less LessEqual
    LogicalAnd LogicalOr Maximum Minimum Mod MulNoNan NotEqual Pow RealDiv SelectV2 SquaredDifference
    StringJoin TruncateDiv TruncateMod Xdivy Xlog1py Xlogy ClipByValue
""")
def elementwise(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.elementwise(*operands)


@rule("Add AddV2 Sub Mul FloorDiv", counts=True)
def arithmetic(node: Node, operands: list[Tensor]) -> Tensor:
    names = {"AddV2": "Add", "Sub": "Subtract", "Mul": "Multiply"}
    return transfer.arithmetic(names.get(node.op, node.op), *operands)


@rule("Select")
def select(node: Node, operands: list[Tensor]) -> Tensor:
    """A condition of one axis chooses whole rows."""
    condition, left, right = operands
    if condition.is_rows and condition.rank == 1 and left.rank > 1:
        if not (left.is_rows and right.is_rows and left.known_shape[0] == right.known_shape[0]):
            raise JoinsRows("rows are chosen among a fixed number")
        if condition.known_shape[0] != left.known_shape[0]:
            raise JoinsRows("operands have different numbers of rows")
        return transfer.elementwise(left, right)
    if not condition.is_rows and (left.is_rows or right.is_rows) and condition.rank != 0:
        raise JoinsRows("rows are chosen by their place")
    return transfer.elementwise(*operands)


@rule("Switch")
def switch(node: Node, operands: list[Tensor]) -> list[Tensor]:
    data, condition = operands
    if condition.is_rows:
        raise JoinsRows("one branch is taken for all rows")
    return [data, data]


@rule("Merge")
def merge(node: Node, operands: list[Tensor]) -> list[Tensor]:
    """Of branches between which the version decides, not the request. Sizes that differ are not known."""
    if not any(one.is_rows for one in operands):
        return [fixed(), fixed(())]
    first = operands[0]
    if not all(one.is_rows and one.rank == first.rank for one in operands):
        raise JoinsRows("one branch has rows and another none")
    sizes = [
        each[0] if len(set(each)) == 1 else fresh() for each in zip(*(one.known_shape for one in operands), strict=True)
    ]
    return [rows(sizes), fixed(())]


@rule("MatMul")
def matmul(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.matmul(
        *operands, left_transposed=node.flag("transpose_a"), right_transposed=node.flag("transpose_b")
    )


@rule("BatchMatMul BatchMatMulV2 BatchMatMulV3")
def batch_matmul(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.matmul(*operands, left_transposed=node.flag("adj_x"), right_transposed=node.flag("adj_y"))


@rule("Einsum")
def einsum(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.einsum(node.text("equation"), operands)


@rule("BiasAdd")
def bias_add(node: Node, operands: list[Tensor]) -> Tensor:
    value, bias = operands
    if bias.is_rows or (value.is_rows and value.rank < 2):
        raise JoinsRows("a bias of the request's rows")
    return like(value, value.shape)


@rule("Softmax LogSoftmax")
def along_the_last(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.along(operands[0], -1)


@rule("Cumsum Cumprod CumulativeLogsumexp")
def cumulative(node: Node, operands: list[Tensor]) -> Tensor:
    axis = _axis(operands[1], operands[0])
    return like(operands[0], operands[0].shape) if axis is None else transfer.along(operands[0], axis)


@rule("ReverseV2")
def reverse(node: Node, operands: list[Tensor]) -> Tensor:
    axes = operands[1].constants()
    if axes is None and operands[0].is_rows:
        raise JoinsRows("the axes are not known")
    for axis in [] if axes is None else axes.ravel():
        transfer.along(operands[0], int(axis))
    return like(operands[0], operands[0].shape)


@rule("Sum Mean Max Min All Any EuclideanNorm")
def reduce(node: Node, operands: list[Tensor]) -> Tensor:
    return _reduced(node, operands)


def _reduced(node: Node, operands: list[Tensor]) -> Tensor:
    tensor, axes = operands
    numbers = axes.constants()
    chosen = None if numbers is None else [int(axis) for axis in numbers.ravel()]
    return transfer.reduce(tensor, chosen, keep=node.flag("keep_dims"))


@rule("Prod", counts=True)
def prod(node: Node, operands: list[Tensor]) -> Tensor:
    """Of sizes, too: how many elements a shape has."""
    tensor, axes = operands
    numbers = axes.constants()
    if tensor.values is not None and tensor.values.ndim == 1 and numbers is not None and not node.flag("keep_dims"):
        if numbers.size == 0:
            return tensor
        made = np.empty((), np.object_)
        made[()] = product(tuple(tensor.values))
        return known(made)
    transfer.refuse_counts(operands)
    return _reduced(node, operands)


@rule("ArgMax ArgMin")
def best_of(node: Node, operands: list[Tensor]) -> Tensor:
    axis = _axis(operands[1], operands[0])
    return fixed() if axis is None else transfer.without_axis(operands[0], axis)


@rule("TopKV2 TopK")
def top(node: Node, operands: list[Tensor]) -> list[Tensor]:
    count: int | None = node.number("k") if len(operands) == 1 else None
    if len(operands) == 2:
        if operands[1].is_rows:
            raise JoinsRows("a number that every row gives")
        numbers = operands[1].constants()
        count = None if numbers is None else int(numbers)
    return [transfer.with_size(operands[0], -1, count)] * 2


@rule("ConcatV2", counts=True)
def concat(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.concat(operands[:-1], _scalar(operands[-1]))


@rule("Pack", counts=True)
def pack(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.stack(operands, node.number("axis"))


@rule("Unpack")
def unpack(node: Node, operands: list[Tensor]) -> list[Tensor]:
    return [transfer.without_axis(operands[0], node.number("axis"))] * node.number("num")


@rule("Split")
def split(node: Node, operands: list[Tensor]) -> list[Tensor]:
    axis, tensor = _axis(operands[0], operands[1]), operands[1]
    count = node.number("num_split")
    if axis is None:
        return [fixed()] * count
    size = tensor.known_shape[transfer.not_the_rows(tensor, axis)].divided_by(Size.of(count))
    part = transfer.with_size(tensor, axis, fresh() if size is None else size)
    return [part] * count


@rule("SplitV")
def split_sizes(node: Node, operands: list[Tensor]) -> list[Tensor]:
    tensor, sizes, axis = operands[0], operands[1].constants(), _axis(operands[2], operands[0])
    count = node.number("num_split")
    if axis is None:
        return [fixed()] * count
    chosen = [None] * count if sizes is None else [None if size < 0 else int(size) for size in sizes.ravel()]
    return [transfer.with_size(tensor, axis, size) for size in chosen]


@rule("Reshape", counts=True)
def reshape(node: Node, operands: list[Tensor]) -> Tensor:
    tensor, target = operands
    if tensor.counts_rows and tensor.values is None:
        raise JoinsRows("it computes with the number of rows")
    return transfer.reshape(tensor, target)


@rule("ExpandDims", counts=True)
def expand(node: Node, operands: list[Tensor]) -> Tensor:
    axis = _scalar(operands[1])
    if axis is None:
        if operands[0].is_rows or operands[0].counts_rows:
            raise JoinsRows("the axis is not known")
        return fixed()
    return transfer.expand(operands[0], [axis])


@rule("Squeeze", counts=True)
def squeeze(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.squeeze(operands[0], node.numbers("squeeze_dims"))


@rule("Transpose")
def transpose(node: Node, operands: list[Tensor]) -> Tensor:
    order = operands[1].constants()
    return transfer.transpose(operands[0], None if order is None else [int(axis) for axis in order])


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


@rule("GatherV2 Gather", counts=True)
def gather(node: Node, operands: list[Tensor]) -> Tensor:
    axis = 0 if len(operands) == 2 else _scalar(operands[2])
    batch_axes = 0 if len(operands) == 2 else node.number("batch_dims")
    return transfer.gather(operands[0], operands[1], axis, batch_axes)


@rule("ResourceGather")
def resource_gather(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.gather(operands[0], operands[1], 0, node.number("batch_dims"))


@rule("GatherNd ResourceGatherNd")
def gather_nd(node: Node, operands: list[Tensor]) -> Tensor:
    params, places = operands
    if params.is_rows or (places.is_rows and places.rank < 2):
        raise JoinsRows("places of one row look into the rows of others")
    if not places.is_rows:
        return fixed()
    depth = places.known_shape[-1].constant
    if depth is None:
        raise JoinsRows("how many axes its places have is not known")
    return rows((*places.known_shape[:-1], *params.known_shape[depth:]))


@rule("HashTable HashTableV2 MutableHashTable MutableHashTableV2")
def table(node: Node, operands: list[Tensor]) -> Tensor:
    """A table whose keys are single; what other tables' keys are is not known."""
    return fixed(())


@rule("LookupTableFind LookupTableFindV2")
def find(node: Node, operands: list[Tensor]) -> Tensor:
    """A value for a key; the default is one value."""
    handle, keys, default = operands
    if keys.is_rows and handle.shape is None:
        raise JoinsRows("whether its keys are single is not known")
    if default.is_rows or (keys.is_rows and default.rank != 0):
        raise JoinsRows("a default of more than one value")
    return like(keys, keys.shape)


@rule("OneHot")
def one_hot(node: Node, operands: list[Tensor]) -> Tensor:
    return transfer.one_hot(operands[0], operands[1:], node.number("axis"))


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
    return fixed() if sizes.values is None else transfer.made_of(list(sizes.values))


@rule("Tile", counts=True)
def tile(node: Node, operands: list[Tensor]) -> Tensor:
    transfer.refuse_counts(operands[:1])
    return transfer.tile(*operands)


@rule("BroadcastTo", counts=True)
def broadcast_to(node: Node, operands: list[Tensor]) -> Tensor:
    transfer.refuse_counts(operands[:1])
    return transfer.broadcast_to(*operands)


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


@rule("MatrixBandPart MatrixSetDiag MatrixSetDiagV3")
def within_matrices(node: Node, operands: list[Tensor]) -> Tensor:
    if any(one.is_rows for one in operands[1:]) or (operands[0].is_rows and operands[0].rank < 3):
        raise JoinsRows("it works along the rows")
    return like(operands[0], operands[0].shape)


def _scalar(tensor: Tensor) -> int | None:
    numbers = tensor.constants()
    return None if numbers is None or numbers.size != 1 else int(numbers.item())


def _axis(axis: Tensor, tensor: Tensor) -> int | None:
    """An axis; None if it does not matter. JoinsRows if it matters and is not known."""
    number = _scalar(axis)
    if tensor.is_rows and number is None:
        raise JoinsRows("the axis is not known")
    return number if tensor.shape is not None else None
