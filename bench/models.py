"""`python -m bench.models FOLDER [NAME...]`: the models that benches serve, untrained, the same weights every time.

small/1     8 floats through a 16-16-1 MLP
columns/1   200 string columns (100 of them with 1 to 5 values, ";" between them), 10,000 buckets of 16-wide
            embeddings each, and 13 floats, through a 3213-1024-512-256-1 MLP: a TF1 graph over feature columns
mlp/1       that MLP by itself; mlp-onnx/1 the same in ONNX
inputs-N/1  N string inputs, hashed and added up: nearly all of its cost is passing them on
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, FLOATS, BUCKETS, DIMENSION = 200, 13, 10_000, 16
SEPARATOR = b";"
SMALL_INPUTS = 8
PATH_INPUTS = (1, 50, 200, 500)
CONCATENATED = COLUMNS * DIMENSION + FLOATS
LAYERS = (1024, 512, 256, 1)
NAMES = ("small", "columns", "mlp", "mlp-onnx", *(f"inputs-{count}" for count in PATH_INPUTS))


def small_inputs(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(rows).random((rows, SMALL_INPUTS), dtype=np.float32)}


def mlp_inputs(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(rows).standard_normal((rows, CONCATENATED), np.float32)}


def columns_inputs(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    inputs: dict[str, np.ndarray] = {"dense": random.random((rows, FLOATS), dtype=np.float32)}
    for column in range(COLUMNS):
        values = np.empty(rows, np.object_)
        for row in range(rows):
            count = random.integers(1, 6) if column % 2 else 1
            values[row] = SEPARATOR.join(b"v%d" % value for value in random.integers(100_000, size=count))
        inputs[f"c{column:03}"] = values
    return inputs


def string_inputs(columns: int, rows: int) -> dict[str, np.ndarray]:
    """Values of 8 to 15 bytes, as ids are."""
    random = np.random.default_rng(rows)
    lengths = random.integers(8, 16, size=(columns, rows))
    return {
        f"c{column:03}": np.array([b"x" * length for length in lengths[column]], np.object_)
        for column in range(columns)
    }


def write(folder: Path, names: Sequence[str]) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    random = np.random.default_rng(0)

    def mlp(x: Any, sizes: tuple[int, ...]) -> Any:
        for index, units in enumerate(sizes):
            weights = random.standard_normal((int(x.shape[1]), units), np.float32) / np.float32(int(x.shape[1]) ** 0.5)
            x = x @ v1.get_variable(f"w{index}", initializer=weights)
            x = x if index == len(sizes) - 1 else tf.nn.relu(x)
        return tf.squeeze(tf.sigmoid(x), 1)

    def save(target: Path, inputs: dict[str, Any], score: Any) -> None:
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            info = v1.saved_model.build_tensor_info
            signature = v1.saved_model.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()},
                {"score": info(score)},
                "tensorflow/serving/predict",
            )
            builder = v1.saved_model.Builder(str(target))
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"serving_default": signature})
            builder.save()

    if "small" in names:
        with tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [None, SMALL_INPUTS], "x")
            save(folder / "small/1", {"x": x}, mlp(x, (16, 16, 1)))

    if "mlp" in names:
        with tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [None, CONCATENATED], "x")
            save(folder / "mlp/1", {"x": x}, mlp(x, LAYERS))

    if "mlp-onnx" in names:
        _write_onnx_mlp(folder / "mlp-onnx/1")

    for columns in (count for count in PATH_INPUTS if f"inputs-{count}" in names):
        with tf.Graph().as_default():
            inputs = {f"c{column:03}": v1.placeholder(tf.string, [None], f"c{column:03}") for column in range(columns)}
            ids = [tf.strings.to_hash_bucket_fast(strings, BUCKETS) for strings in inputs.values()]
            save(folder / f"inputs-{columns}/1", inputs, tf.cast(tf.add_n(ids), tf.float32))

    if "columns" in names:
        with tf.Graph().as_default():
            v1.set_random_seed(0)
            inputs = {f"c{column:03}": v1.placeholder(tf.string, [None], f"c{column:03}") for column in range(COLUMNS)}
            dense = v1.placeholder(tf.float32, [None, FLOATS], "dense")
            embedded = []
            for column, (name, strings) in enumerate(inputs.items()):
                table = v1.get_variable(
                    name, [BUCKETS, DIMENSION], initializer=v1.random_normal_initializer(stddev=0.1)
                )
                if column % 2:
                    lists = tf.strings.split(strings, SEPARATOR)
                    ids = lists.with_flat_values(tf.strings.to_hash_bucket_fast(lists.flat_values, BUCKETS))
                    embedded.append(tf.nn.embedding_lookup_sparse(table, ids.to_sparse(), None, combiner="mean"))
                else:
                    embedded.append(tf.nn.embedding_lookup(table, tf.strings.to_hash_bucket_fast(strings, BUCKETS)))
            x = tf.concat([*embedded, dense], 1)
            save(folder / "columns/1", {**inputs, "dense": dense}, mlp(x, LAYERS))


def _write_onnx_mlp(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, constants, size, last = [], [], CONCATENATED, "x"
    for index, units in enumerate(LAYERS):
        weights = random.standard_normal((size, units), np.float32) / np.float32(size**0.5)
        constants.append(numpy_helper.from_array(weights, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"h{index}"]))
        activation = "Relu" if index < len(LAYERS) - 1 else "Sigmoid"
        nodes.append(helper.make_node(activation, [f"h{index}"], [f"a{index}"]))
        size, last = units, f"a{index}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", CONCATENATED])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["rows", 1])],
        constants,
    )
    folder.mkdir(parents=True)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(folder / "model.onnx"))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:] or list(NAMES))
