"""Whether the rows of an OpenVINO model's outputs are each made of the same rows of its inputs.

Models and nodes are OpenVINO's own Python objects; nothing of OpenVINO is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from corelane.kernels.batching import layout, slices, transfer
from corelane.kernels.batching.axes import axis_in, refuse_counts
from corelane.kernels.batching.registry import Rule, rule, rules_by_op
from corelane.kernels.batching.slices import MASKS
from corelane.kernels.batching.tensor import MALFORMED, VALUES_MAX, JoinsRows, Tensor, fixed, fresh, known, like, rows
from corelane.kernels.compiler.sizes import BATCH, Size, product

Attributes = dict[str, Any]
_Body = Callable[[Attributes, list[Tensor]], Tensor | Sequence[Tensor]]


def check_openvino_rows(model: Any) -> None:
    """JoinsRows if an output is not shown to have one row for each row of the inputs, made of that row alone."""
    if model.get_variables():
        raise JoinsRows("the model keeps state between runs")
    tensors: dict[tuple[str, int], Tensor] = {}
    for node in model.get_ordered_ops():
        try:
            operands = [tensors[place.get_node().get_name(), place.get_index()] for place in node.input_values()]
            made = _made(node, operands)
        except (JoinsRows, *MALFORMED) as error:
            raise JoinsRows(f"{node.get_type_name()} ({node.get_friendly_name()}): {error}") from None
        for index, tensor in enumerate(made):
            tensors[node.get_name(), index] = tensor


def _made(node: Any, operands: list[Tensor]) -> Sequence[Tensor]:
    name = node.get_type_name()
    if name == "Parameter":
        return [_parameter(node)]
    if name == "Constant":
        return [_constant(node)]
    if name == "Result":
        if not operands[0].is_rows or operands[0].known_shape[0] != BATCH:
            raise JoinsRows("an output does not have one row for each row of the inputs")
        return operands
    known_rule = _RULES_BY_OP.get(name)
    if known_rule is None or not known_rule.takes_counts:
        refuse_counts(operands)
    if known_rule is not None:
        made = known_rule.body({**node.get_attributes(), "type": name}, operands)
        return [made] if isinstance(made, Tensor) else made
    if any(one.is_rows for one in operands):
        raise JoinsRows("it is not known to keep rows apart")
    if not operands or name.startswith("Random") or name == "Multinomial":
        raise JoinsRows("its value is another at each run")
    return [fixed()] * node.get_output_size()


def _parameter(node: Any) -> Tensor:
    shape = node.get_output_partial_shape(0)
    if shape.rank.is_dynamic or len(shape) == 0 or not shape[0].is_dynamic:
        raise JoinsRows("it has no first axis of any size")
    return rows([BATCH, *(fresh() if size.is_dynamic else Size.of(size.get_length()) for size in list(shape)[1:])])


def _constant(node: Any) -> Tensor:
    shape = [int(size) for size in node.get_output_shape(0)]
    if int(np.prod(shape)) <= VALUES_MAX and node.get_output_element_type(0).is_integral():
        return known(np.asarray(node.get_data()).reshape(shape).astype(np.int64))
    return fixed(shape)


@rule("""
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceiling Clamp Cos Cosh Elu Erf Exp Floor Gelu HSigmoid HSwish
    IsFinite IsInf IsNaN Log LogicalNot Mish Negative ReLU Relu Round Sigmoid Sign Sin Sinh SoftPlus SoftSign Sqrt
    Tan Tanh
""")
def _unary(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return like(operands[0], operands[0].shape)


@rule("Convert", counts=True)
def _convert(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if operands[0].values is not None and str(attributes["destination_type"]) in ("i32", "i64"):
        return operands[0]
    refuse_counts(operands)
    return like(operands[0], operands[0].shape)


@rule("Swish HardSigmoid Selu PRelu FakeQuantize ConvertLike")
def _with_parameters(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    """Parameters are one number, or one for each channel of the second axis."""
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    for one in operands[1:] if operands[0].is_rows else []:
        if one.rank >= operands[0].rank and one.rank > 0 and one.known_shape[0] != Size.of(1):
            raise JoinsRows("a parameter has a fixed number of rows")
    return like(operands[0], operands[0].shape)


@rule("""
    BitwiseAnd BitwiseOr BitwiseXor Divide Equal FloorMod Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr
    LogicalXor Maximum Minimum Mod NotEqual Power Select SquaredDifference
""")
def _elementwise(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if str(attributes.get("auto_broadcast", "numpy")) not in ("numpy", "none"):
        raise JoinsRows("it broadcasts otherwise than numpy")
    return transfer.elementwise(*operands)


@rule("Add Subtract Multiply", counts=True)
def _arithmetic(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if str(attributes.get("auto_broadcast", "numpy")) not in ("numpy", "none"):
        raise JoinsRows("it broadcasts otherwise than numpy")
    return transfer.arithmetic(attributes["type"], *operands)


@rule("MatMul")
def _matmul(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.matmul(
        *operands,
        left_transposed=bool(attributes["transpose_a"]),
        right_transposed=bool(attributes["transpose_b"]),
    )


@rule("Einsum")
def _einsum(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.einsum(str(attributes["equation"]), operands)


@rule("Softmax LogSoftmax")
def _softmax(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.along(operands[0], int(attributes["axis"]))


@rule("CumSum NormalizeL2 MVN")
def _along_axes(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    axes = operands[1].constants() if len(operands) > 1 else None
    if axes is None:
        raise JoinsRows("the axes are not known")
    for axis in axes.ravel():
        transfer.along(operands[0], int(axis))
    return like(operands[0], operands[0].shape)


@rule("ReduceSum ReduceMean ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceLogicalAnd ReduceLogicalOr")
def _reduce(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return _reduced(attributes, operands)


def _reduced(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    axes = operands[1].constants()
    chosen = None if axes is None else [int(axis) for axis in axes.ravel()]
    return transfer.reduce(operands[0], chosen, keep=bool(attributes["keep_dims"]))


@rule("ReduceProd", counts=True)
def _reduce_prod(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    tensor = operands[0]
    if tensor.values is not None and tensor.values.ndim == 1:
        made = np.empty((1,) if attributes["keep_dims"] else (), np.object_)
        made[...] = product(tuple(tensor.values))
        return known(made)
    refuse_counts(operands)
    return _reduced(attributes, operands)


@rule("TopK")
def _top(attributes: Attributes, operands: list[Tensor]) -> Sequence[Tensor]:
    count = operands[1].constants()
    if operands[1].is_rows:
        raise JoinsRows("a number that every row gives")
    return [layout.with_size(operands[0], int(attributes["axis"]), None if count is None else int(count))] * 2


@rule("Concat", counts=True)
def _concat(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return layout.concat(operands, int(attributes["axis"]))


@rule("Split")
def _split(attributes: Attributes, operands: list[Tensor]) -> Sequence[Tensor]:
    axis, count = _scalar(operands[1]), int(attributes["num_splits"])
    size = operands[0].known_shape[axis_in(operands[0], axis)].divided_by(Size.of(count))
    return [layout.with_size(operands[0], axis, fresh() if size is None else size)] * count


@rule("VariadicSplit")
def _split_sizes(attributes: Attributes, operands: list[Tensor]) -> Sequence[Tensor]:
    sizes = operands[2].constants()
    if sizes is None:
        raise JoinsRows("its sizes are not known")
    axis = _scalar(operands[1])
    return [layout.with_size(operands[0], axis, None if size < 0 else int(size)) for size in sizes.ravel()]


@rule("Reshape", counts=True)
def _reshape(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return layout.reshape(*operands, zero_copies=bool(attributes["special_zero"]))


@rule("Unsqueeze", counts=True)
def _unsqueeze(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return layout.expand(operands[0], _numbers(operands[1]))


@rule("Squeeze", counts=True)
def _squeeze(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return layout.squeeze(operands[0], _numbers(operands[1]) if len(operands) > 1 else [])


@rule("Transpose")
def _transpose(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return layout.transpose(operands[0], _numbers(operands[1]))


@rule("ShapeOf")
def _shape_of(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.shape_of(operands[0])


@rule("Gather", counts=True)
def _gather(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.gather(operands[0], operands[1], _scalar(operands[2]), int(attributes.get("batch_dims", 0)))


@rule("StridedSlice", counts=True)
def _strided_slice(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if len(operands) < 4:
        raise JoinsRows("its strides are not known")
    masks = {
        name: sum(1 << entry for entry, is_set in enumerate(attributes.get(f"{name}_mask", [])) if is_set)
        for name in MASKS
    }
    return slices.strided(*operands[:4], masks=masks)


@rule("Broadcast", counts=True)
def _broadcast(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if str(attributes.get("mode", "numpy")).lower() not in ("numpy", "bidirectional") or len(operands) > 2:
        raise JoinsRows("it broadcasts otherwise than numpy")
    refuse_counts(operands[:1])
    if str(attributes.get("mode", "numpy")).lower() == "bidirectional" and operands[0].is_rows:
        raise JoinsRows("it broadcasts both ways")
    return layout.broadcast_to(*operands)


@rule("Tile", counts=True)
def _tile(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    refuse_counts(operands[:1])
    return layout.tile(*operands)


@rule("OneHot")
def _one_hot(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    return transfer.one_hot(operands[0], operands[1:], int(attributes["axis"]))


@rule("Convolution GroupConvolution MaxPool AvgPool")
def _images(attributes: Attributes, operands: list[Tensor]) -> Sequence[Tensor]:
    """The first axis is of images; how large they become is not needed."""
    image = operands[0]
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("its kernel is made of the request's rows")
    made = like(image, [image.known_shape[0], *(fresh() for _ in range(image.rank - 1))]) if image.is_rows else fixed()
    return [made] * 2


@rule("BatchNormInference")
def _batch_norm(attributes: Attributes, operands: list[Tensor]) -> Tensor:
    if any(one.is_rows for one in operands[1:]):
        raise JoinsRows("a parameter of it is one of the request's rows")
    return like(operands[0], operands[0].shape)


def _numbers(tensor: Tensor) -> list[int]:
    numbers = tensor.constants()
    if numbers is None:
        raise JoinsRows("the axes are not known")
    return [int(number) for number in numbers.ravel()]


def _scalar(tensor: Tensor) -> int:
    numbers = _numbers(tensor)
    if len(numbers) != 1:
        raise JoinsRows("the axis is not known")
    return numbers[0]


_RULES: tuple[Rule[_Body], ...] = (
    _unary,
    _convert,
    _with_parameters,
    _elementwise,
    _arithmetic,
    _matmul,
    _einsum,
    _softmax,
    _along_axes,
    _reduce,
    _reduce_prod,
    _top,
    _concat,
    _split,
    _split_sizes,
    _reshape,
    _unsqueeze,
    _squeeze,
    _transpose,
    _shape_of,
    _gather,
    _strided_slice,
    _broadcast,
    _tile,
    _one_hot,
    _images,
    _batch_norm,
)
_RULES_BY_OP = rules_by_op(_RULES)
