"""DLRM in ONNX and DCN in OpenVINO IR: models over integer ids, trained in Keras.

(Naumov et al., "Deep Learning Recommendation Model", 2019; Wang et al., "DCN V2", 2020.) Inputs: `ids` int64 [rows, 4]
(user, item, category, city) and `dense` float32 [rows, 3]; output: `score` float32 [rows].
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import openvino
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from corelane.demo import clicks
from corelane.demo.clicks import CATEGORIES, CITIES, ITEMS, USERS, Clicks

_SIZES = (USERS, ITEMS, CATEGORIES, CITIES)
_DIMENSION = 8
_BATCH = 512


def train_dlrm(data: Clicks, held_out: Clicks, folder: Path, epochs: int, seed: int) -> float:
    """Trains, writes `folder`/model.onnx, and returns the AUC on held-out rows."""
    ids, dense = _inputs()
    bottom = keras.layers.Dense(_DIMENSION, "relu", name="bottom")(dense)
    vectors = keras.layers.Concatenate(axis=1)([keras.layers.Reshape((1, _DIMENSION))(bottom), _embed(ids)])
    products = keras.layers.Dot(axes=2)([vectors, vectors])
    flat = keras.layers.Flatten()(products)
    top = keras.layers.Concatenate()([bottom, flat])
    top = keras.layers.Dense(32, "relu", name="top")(top)
    model = keras.Model([ids, dense], keras.layers.Dense(1, "sigmoid", name="out")(top))
    result = _fit(model, data, held_out, epochs, seed)
    folder.mkdir(parents=True)
    onnx.save(_dlrm_to_onnx(model), str(folder / "model.onnx"))
    return result


def train_dcn(data: Clicks, held_out: Clicks, folder: Path, epochs: int, seed: int) -> float:
    """Trains, writes `folder`/model.xml and .bin, and returns the AUC on held-out rows."""
    ids, dense = _inputs()
    start = keras.layers.Concatenate()([keras.layers.Flatten()(_embed(ids)), dense])
    crossed = start
    for _ in range(2):
        crossed = keras.layers.Add()(
            [keras.layers.Multiply()([start, keras.layers.Dense(start.shape[1])(crossed)]), crossed]
        )
    deep = keras.layers.Dense(32, "relu")(crossed)
    model = keras.Model([ids, dense], keras.layers.Dense(1, "sigmoid")(deep))
    result = _fit(model, data, held_out, epochs, seed)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, len(_SIZES)], tf.int64, "ids"),
            tf.TensorSpec([None, len(clicks.NUMBERS)], tf.float32, "dense"),
        ]
    )
    def serve(ids: Any, dense: Any) -> Any:
        return tf.identity(model([ids, dense])[:, 0], "score")

    converted = openvino.convert_model(serve)
    for port, name in zip(converted.inputs, ("ids", "dense"), strict=True):
        port.get_tensor().set_names({name})
    converted.outputs[0].get_tensor().set_names({"score"})
    folder.mkdir(parents=True)
    openvino.save_model(converted, str(folder / "model.xml"), compress_to_fp16=False)
    return result


def _inputs() -> tuple[Any, Any]:
    return keras.Input((len(_SIZES),), dtype="int64"), keras.Input((len(clicks.NUMBERS),))


def _embed(ids: Any) -> Any:
    """[rows, 4] ids to [rows, 4, dimension]: one table, each field from an offset of its own."""
    offsets = np.cumsum([0, *_SIZES[:-1]])
    return keras.layers.Embedding(sum(_SIZES), _DIMENSION, name="table", embeddings_initializer="normal")(ids + offsets)


def _fit(model: keras.Model, data: Clicks, held_out: Clicks, epochs: int, seed: int) -> float:
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(0.004), "binary_crossentropy")
    columns = data.ids()
    model.fit([columns["ids"], columns["dense"]], data.labels, _BATCH, epochs, verbose=0)
    test = held_out.ids()
    scores = model.predict([test["ids"], test["dense"]], 4096, verbose=0)
    return clicks.auc(held_out.labels, scores[:, 0])


def _dlrm_to_onnx(model: keras.Model) -> onnx.ModelProto:
    constants = {"offsets": np.cumsum([0, *_SIZES[:-1]]).astype(np.int64), "one": np.array([1]), "last": np.array([-1])}
    constants["table"] = model.get_layer("table").get_weights()[0]
    for name in ("bottom", "top", "out"):
        constants[f"{name}_w"], constants[f"{name}_b"] = model.get_layer(name).get_weights()

    def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs.split(), [output], **attributes)

    nodes = [
        node("Gemm", "dense bottom_w bottom_b", "bottom_sum"),
        node("Relu", "bottom_sum", "bottom"),
        node("Add", "ids offsets", "rows"),
        node("Gather", "table rows", "embedded"),
        node("Unsqueeze", "bottom one", "bottom_row"),
        node("Concat", "bottom_row embedded", "vectors", axis=1),
        node("Transpose", "vectors", "turned", perm=[0, 2, 1]),
        node("MatMul", "vectors turned", "products"),
        node("Flatten", "products", "pairs"),
        node("Concat", "bottom pairs", "interactions", axis=1),
        node("Gemm", "interactions top_w top_b", "top_sum"),
        node("Relu", "top_sum", "top"),
        node("Gemm", "top out_w out_b", "logit"),
        node("Sigmoid", "logit", "column"),
        node("Squeeze", "column last", "score"),
    ]
    graph = helper.make_graph(
        nodes,
        "dlrm",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", len(_SIZES)]),
            helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["rows", len(clicks.NUMBERS)]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made
