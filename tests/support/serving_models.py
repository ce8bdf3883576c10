"""`python -m tests.support.serving_models FOLDER`: SavedModels on which TensorFlow Serving's own behaviour shows.

half_plus_two/1  y = x / 2 + 2, its signature [-1, 1]; Predict, Classify and Regress, as in TensorFlow Serving's tests
heads/1          Classify and Regress by signatures whose method is Predict, good and bad ones
passing/1        outputs that are inputs: of every element type, alone, twice, beside others
passing_hash/1   the same beside an embedding that is fused
tags/1           two graphs over one variable: `serve`, and `serve` with `gpu`, which answers ten times as much
shapes/1         row-wise embeddings with a signature [-1, 1], whose graph takes other shapes, too
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.tensorflow_models import WIRE_TYPES

v1 = tf.compat.v1
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = PREDICT) -> Any:
    def infos(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}

    return v1.saved_model.build_signature_def(infos(inputs), infos(outputs), method)


def save(folder: Path, session: Any, signatures: dict[str, Any]) -> None:
    session.run([v1.global_variables_initializer(), v1.tables_initializer()])
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(
        session, ["serve"], signature_def_map=signatures, main_op=v1.tables_initializer()
    )
    builder.save()


def parsed(examples: Any) -> Any:
    return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]


def write_half_plus_two(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        a, b = v1.get_variable("a", initializer=0.5), v1.get_variable("b", initializer=2.0)
        examples = v1.placeholder(tf.string, [None], "tf_example")
        x = tf.identity(parsed(examples), name="x")
        y = tf.identity(a * x + b, name="y")
        signatures = {
            "serving_default": signature({"x": x}, {"y": y}),
            "classify_x_to_y": signature({"inputs": examples}, {"scores": y}, CLASSIFY),
            "regress_x_to_y": signature({"inputs": examples}, {"outputs": y}, REGRESS),
        }
        save(folder, session, signatures)


def write_heads(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "examples")
        other = v1.placeholder(tf.float32, [None], "other")
        value = parsed(examples) * v1.get_variable("weight", initializer=2.0)
        rows = tf.shape(examples)[0]
        scores = tf.concat([-value, value], 1)
        classes = tf.tile([["low", "high"]], [rows, 1])
        good = {"classes": classes, "scores": scores}
        inputs = {"inputs": examples}
        words = tf.strings.as_string(value[:, 0])
        signatures = {
            "classify": signature(inputs, good),
            "classes": signature(inputs, {"classes": classes}),
            "scores": signature(inputs, {"scores": scores}),
            "regress": signature(inputs, {"outputs": value[:, 0]}),
            "regress_column": signature(inputs, {"outputs": value}),
            "declared_classify": signature(inputs, good, CLASSIFY),
            "declared_regress": signature(inputs, {"outputs": value}, REGRESS),
            "classes_int64": signature(inputs, {"classes": tf.cast(scores, tf.int64), "scores": scores}),
            "scores_double": signature(inputs, {"scores": tf.cast(scores, tf.float64)}),
            "scores_string": signature(inputs, {"scores": tf.strings.as_string(scores)}),
            "scores_vector": signature(inputs, {"scores": value[:, 0]}),
            "scores_one_row": signature(inputs, {"scores": scores[:1]}),
            "classes_one_row": signature(inputs, {"classes": classes[:1]}),
            "widths": signature(inputs, {"classes": classes, "scores": tf.concat([scores, scores], 1)}),
            "values_string": signature(inputs, {"outputs": words}),
            "values_int64": signature(inputs, {"outputs": tf.cast(value, tf.int64)}),
            "values_wide": signature(inputs, {"outputs": scores}),
            "values_one_row": signature(inputs, {"outputs": value[:1]}),
            "values_scalar": signature(inputs, {"outputs": tf.reduce_sum(value)}),
            "two_inputs": signature({**inputs, "other": other}, {"outputs": value}),
            "other_input": signature({"other": examples}, {"scores": scores, "outputs": value}),
            "other_input_only": signature({"other": examples}, {"outputs": value}),
            "float_input": signature({"inputs": other}, {"outputs": other * 2}),
            "many_outputs": signature(inputs, {**good, "outputs": value}),
            "no_head": signature(inputs, {"y": value}),
        }
        save(folder, session, signatures)


def write_passing(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        fed = {name: v1.placeholder(dtype, None, name) for name, dtype in WIRE_TYPES.items()}
        x = v1.placeholder(tf.float32, [None], "x")
        word = v1.placeholder(tf.string, [None], "word")
        weight = v1.get_variable("weight", initializer=2.0)
        signatures = {
            "types": signature(fed, {f"{name}_out": tensor for name, tensor in fed.items()}),
            "serving_default": signature(
                {"x": x, "word": word},
                {"word": word, "double": weight * x, "x": x, "again": x, "upper": tf.strings.upper(word)},
            ),
            "alone": signature({"x": x}, {"y": x}),
            "twice_fed": signature({"a": x, "b": x}, {"y": weight * x}),
            "twice_fetched": signature({"x": x}, {"a": (y := weight * x), "b": y}),
        }
        save(folder, session, signatures)


def write_passing_hash(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x, f, output = embedded([None], [None, 3])
        inputs = {"x": x, "f": f}
        signatures = {
            "serving_default": signature(inputs, {"y": output, "x": x, "f": f}),
            "numbers": signature(inputs, {"y": output, "f": f, "again": f}),
        }
        save(folder, session, signatures)


def write_shapes(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x, f, output = embedded(None, None)
        x.set_shape([None, 1])
        f.set_shape([None, 3])
        save(folder, session, {"serving_default": signature({"x": x, "f": f}, {"y": output})})


def embedded(words: list[int | None] | None, numbers: list[int | None] | None) -> tuple[Any, Any, Any]:
    """Hashed words, looked up in a table and joined with numbers, through a dense layer."""
    v1.set_random_seed(1)
    x, f = v1.placeholder(tf.string, words, "x"), v1.placeholder(tf.float32, numbers, "f")
    table = v1.get_variable("table", [50, 8], use_resource=True)
    weights = v1.get_variable("weights", [11, 4], use_resource=True)
    rows = tf.gather(table, tf.strings.to_hash_bucket_fast(tf.reshape(x, [-1]), 50))
    return x, f, tf.matmul(tf.concat([rows, tf.reshape(f, [-1, 3])], 1), weights)


def write_tags(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        y = x * v1.get_variable("weight", initializer=2.0)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature({"x": x}, {"y": y})}
        )
        builder.add_meta_graph(
            ["serve", "gpu"], signature_def_map={"serving_default": signature({"x": x}, {"y": 10 * y})}
        )
        builder.save()


def main(folder: Path) -> None:
    write_half_plus_two(folder / "half_plus_two/1")
    write_heads(folder / "heads/1")
    write_passing(folder / "passing/1")
    write_passing_hash(folder / "passing_hash/1")
    write_shapes(folder / "shapes/1")
    write_tags(folder / "tags/1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
