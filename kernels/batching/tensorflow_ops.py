"""TensorFlow's ops by what they do to rows: arithmetic, layout, lookups."""

from __future__ import annotations

import numpy as np

from corelane.kernels.batching import layout, transfer
from corelane.kernels.batching.axes import refuse_counts
from corelane.kernels.batching.registry import Rule, rule
from corelane.kernels.batching.tensor import JoinsRows, Tensor, fixed, fresh, known, like, rows
from corelane.kernels.batching.tensorflow_rules import Body, Node, axis_of, scalar_of
from corelane.kernels.compiler.sizes import product
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
    refuse_counts(operands)
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
    axis = axis_of(operands[1], operands[0])
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
    refuse_counts(operands)
    return _reduced(node, operands)


@rule("ArgMax ArgMin")
def best_of(node: Node, operands: list[Tensor]) -> Tensor:
    axis = axis_of(operands[1], operands[0])
    return fixed() if axis is None else layout.without_axis(operands[0], axis)


@rule("TopKV2 TopK")
def top(node: Node, operands: list[Tensor]) -> list[Tensor]:
    count: int | None = node.number("k") if len(operands) == 1 else None
    if len(operands) == 2:
        if operands[1].is_rows:
            raise JoinsRows("a number that every row gives")
        numbers = operands[1].constants()
        count = None if numbers is None else int(numbers)
    return [layout.with_size(operands[0], -1, count)] * 2


@rule("GatherV2 Gather", counts=True)
def gather(node: Node, operands: list[Tensor]) -> Tensor:
    axis = 0 if len(operands) == 2 else scalar_of(operands[2])
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


@rule("MatrixBandPart MatrixSetDiag MatrixSetDiagV3")
def within_matrices(node: Node, operands: list[Tensor]) -> Tensor:
    if any(one.is_rows for one in operands[1:]) or (operands[0].is_rows and operands[0].rank < 3):
        raise JoinsRows("it works along the rows")
    return like(operands[0], operands[0].shape)


RULES: tuple[Rule[Body], ...] = (
    unary,
    same,
    same_each,
    cast,
    elementwise,
    arithmetic,
    select,
    switch,
    merge,
    matmul,
    batch_matmul,
    einsum,
    bias_add,
    along_the_last,
    cumulative,
    reverse,
    reduce,
    prod,
    best_of,
    top,
    gather,
    resource_gather,
    gather_nd,
    table,
    find,
    one_hot,
    within_matrices,
)
