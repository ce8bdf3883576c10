"""Small ONNX models whose answers tell which version gave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_scale(folder: Path, factor: float) -> Path:
    """y = factor * x, float32 of any length."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    return _write(
        folder,
        nodes,
        [_value("x", TensorProto.FLOAT, ["rows"])],
        [_value("y", TensorProto.FLOAT, ["rows"])],
        {"factor": np.array(factor, np.float32)},
    )


def write_ctr(folder: Path) -> Path:
    """A row has a user_id (string [-1]), a price (float [-1, 1]) and two slots (int64 [-1, 2]); score [-1, 1] is the
    price, user is user_id, sum [-1] that of the slots."""
    nodes = [
        helper.make_node("Identity", ["price"], ["score"]),
        helper.make_node("Identity", ["user_id"], ["user"]),
        helper.make_node("ReduceSum", ["slots", "columns"], ["sum"], keepdims=0),
    ]
    inputs = [
        _value("user_id", TensorProto.STRING, ["rows"]),
        _value("price", TensorProto.FLOAT, ["rows", 1]),
        _value("slots", TensorProto.INT64, ["rows", 2]),
    ]
    outputs = [
        _value("score", TensorProto.FLOAT, ["rows", 1]),
        _value("user", TensorProto.STRING, ["rows"]),
        _value("sum", TensorProto.INT64, ["rows"]),
    ]
    return _write(folder, nodes, inputs, outputs, {"columns": np.array([1], np.int64)})


def write_count(folder: Path) -> Path:
    """y = x, int64 of any length."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    value = [_value(name, TensorProto.INT64, ["rows"]) for name in ("x", "y")]
    return _write(folder, nodes, value[:1], value[1:], {})


def write_slow(folder: Path, *, more: int = 0) -> Path:
    """total = n + more, counted one by one: a run takes as long as that int64 scalar says (about 1 s a million)."""
    one = helper.make_tensor("one", TensorProto.INT64, [], [1])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going_in"], ["going_out"]),
            helper.make_node("Add", ["total_in", "one"], ["total_out"]),
        ],
        "body",
        [
            _value("step", TensorProto.INT64, []),
            _value("going_in", TensorProto.BOOL, []),
            _value("total_in", TensorProto.INT64, []),
        ],
        [_value("going_out", TensorProto.BOOL, []), _value("total_out", TensorProto.INT64, [])],
        [one],
    )
    nodes = [
        helper.make_node("Add", ["n", "more"], ["turns"]),
        helper.make_node("Loop", ["turns", "going", "zero"], ["total"], body=body),
    ]
    constants = {"going": np.array(True), "zero": np.array(0, np.int64), "more": np.array(more, np.int64)}
    return _write(
        folder, nodes, [_value("n", TensorProto.INT64, [])], [_value("total", TensorProto.INT64, [])], constants
    )


def write_sum(folder: Path, names: Sequence[str]) -> Path:
    """y = the sum of all inputs, float32 of any length."""
    return _write(
        folder,
        [helper.make_node("Sum", list(names), ["y"])],
        [_value(name, TensorProto.FLOAT, ["rows"]) for name in names],
        [_value("y", TensorProto.FLOAT, ["rows"])],
        {},
    )


def write_thirds(folder: Path) -> Path:
    """y = relu(x) + 1 as three rows, float32; of an x whose length three does not divide there is none."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Reshape", ["positive", "thirds"], ["rows"]),
        helper.make_node("Add", ["rows", "one"], ["y"]),
    ]
    constants = {"thirds": np.array([3, -1], np.int64), "one": np.array(1, np.float32)}
    inputs, outputs = [_value("x", TensorProto.FLOAT, ["n"])], [_value("y", TensorProto.FLOAT, ["rows", "columns"])]
    return _write(folder, nodes, inputs, outputs, constants)


def write_spread(folder: Path, width: int) -> Path:
    """y = (the sum of a row of x's four) * width / 64, float32, by way of `width` columns."""
    nodes = [
        helper.make_node("MatMul", ["x", "spread"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["positive"]),
        helper.make_node("MatMul", ["positive", "gather"], ["y"]),
    ]
    constants = {"spread": np.ones((4, width), np.float32), "gather": np.full((width, 1), 1 / 64, np.float32)}
    inputs, outputs = [_value("x", TensorProto.FLOAT, ["n", 4])], [_value("y", TensorProto.FLOAT, ["n", 1])]
    return _write(folder, nodes, inputs, outputs, constants)


def write_options(folder: Path, ir_version: int = 8) -> Path:
    """y = factor * x + shift, float32 of any length; the scalar factor may be left out and is 2 then, shift is [0]."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["product"]),
        helper.make_node("Add", ["product", "shift"], ["y"]),
    ]
    inputs = [_value("x", TensorProto.FLOAT, ["rows"]), _value("factor", TensorProto.FLOAT, [])]
    inputs.append(_value("shift", TensorProto.FLOAT, ["shifts"]))
    constants = {"factor": np.array(2, np.float32), "shift": np.zeros(1, np.float32)}
    return _write(folder, nodes, inputs, [_value("y", TensorProto.FLOAT, ["rows"])], constants, ir_version)


def write_default(folder: Path, default: Any) -> Path:
    """y = x, which may be left out and is this onnx.TensorProto then."""
    value = [_value(name, default.data_type, list(default.dims)) for name in ("x", "y")]
    copy = onnx.TensorProto.FromString(default.SerializeToString())
    copy.name = "x"
    same = np.array(default.dims, np.int64)
    nodes = [helper.make_node("Reshape", ["x", "same"], ["y"])]
    return _write(folder, nodes, value[:1], value[1:], {"same": same}, tensors=[copy])


def write_classifier(folder: Path, zipmap: bool) -> Path:
    """As skl2onnx exports one: label = argmax, and with a ZipMap a map of probabilities for each row."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        if zipmap
        else helper.make_node("Identity", ["scores"], ["probabilities"]),
    ]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    probabilities = (
        helper.make_value_info("probabilities", kind)
        if zipmap
        else _value("probabilities", TensorProto.FLOAT, ["rows", 2])
    )
    outputs = [_value("label", TensorProto.INT64, ["rows"]), probabilities]
    return _write(folder, nodes, [_value("x", TensorProto.FLOAT, ["rows", 2])], outputs, {})


def write_identity(folder: Path, onnx_type: int, shape: Sequence[int | str | None]) -> Path:
    """y = x of one element type and shape, as a Reshape to the shape that it has: OpenVINO 2026.4 corrupts its memory
    on an Identity of strings."""
    nodes = [helper.make_node("Reshape", ["x", "same"], ["y"])]
    same = np.array([0 if isinstance(size, str) else size for size in shape], np.int64)
    return _write(folder, nodes, [_value("x", onnx_type, shape)], [_value("y", onnx_type, shape)], {"same": same})


def write_best(folder: Path, *, with_words: bool = False) -> Path:
    """best = the largest of x, float32 of any length, [1]; with words, same = word, strings of any length."""
    nodes = [helper.make_node("TopK", ["x", "one"], ["best", "place"])]
    inputs, outputs = [_value("x", TensorProto.FLOAT, ["rows"])], [_value("best", TensorProto.FLOAT, [1])]
    constants = {"one": np.array([1], np.int64)}
    if with_words:
        nodes.append(helper.make_node("Reshape", ["word", "any"], ["same"]))
        constants["any"] = np.array([-1], np.int64)
        inputs.append(_value("word", TensorProto.STRING, ["words"]))
        outputs.append(_value("same", TensorProto.STRING, ["words"]))
    return _write(folder, nodes, inputs, outputs, constants)


def write_heavy(folder: Path, mebibytes: int) -> Path:
    """y = x + sum of a constant that takes this much memory."""
    nodes = [
        helper.make_node("ReduceSum", ["weights"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    weights = np.zeros(mebibytes << 18, np.float32)
    value = [_value(name, TensorProto.FLOAT, ["rows"]) for name in ("x", "y")]
    return _write(folder, nodes, value[:1], value[1:], {"weights": weights})


def _value(name: str, onnx_type: int, shape: Sequence[int | str | None]) -> Any:
    return helper.make_tensor_value_info(name, onnx_type, shape)


def _write(
    folder: Path,
    nodes: list,
    inputs: list,
    outputs: list,
    constants: dict[str, np.ndarray],
    ir_version: int = 8,
    tensors: Sequence[Any] = (),
) -> Path:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, [*initializers, *tensors])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
