"""Wide & Deep as a TF1 graph over feature columns, the form that years of production models have.

(Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016.) Its SavedModel has a Predict signature over dense
string inputs, and Classify and Regress signatures over serialized tf.Example.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from corelane.demo import clicks
from corelane.demo.clicks import Clicks

v1 = tf.compat.v1
_BATCH = 512
_BUCKETS = {"user_id": 2000, "item_id": 1000, "category": 50, "city": 50, "tags": 100, "history": 1000}


def train(data: Clicks, held_out: Clicks, folder: Path, epochs: int, seed: int) -> float:
    """Trains, exports to `folder`, and returns the AUC on held-out rows."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        v1.set_random_seed(seed)
        placeholders = {name: v1.placeholder(tf.string, [None], name) for name in clicks.STRINGS}
        placeholders |= {name: v1.placeholder(tf.float32, [None], name) for name in clicks.NUMBERS}
        labels = v1.placeholder(tf.float32, [None], "labels")
        with v1.variable_scope("model"):
            logits = _logits(_features(placeholders))
        score = tf.sigmoid(logits, "score")
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        step = v1.train.AdamOptimizer(0.004).minimize(loss)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])

        order = np.random.default_rng(seed)
        for _ in range(epochs):
            for rows in np.array_split(order.permutation(len(data.labels)), len(data.labels) // _BATCH):
                feeds = {placeholders[name]: values[rows] for name, values in data.columns.items()}
                session.run(step, feeds | {labels: data.labels[rows]})

        feeds = {placeholders[name]: values for name, values in held_out.columns.items()}
        result = clicks.auc(held_out.labels, session.run(score, feeds))
        _export(session, placeholders, score, folder)
    return result


def _features(inputs: dict[str, Any]) -> dict[str, Any]:
    features = dict(inputs)
    for name in ("tags", "history"):
        features[name] = tf.strings.split(inputs[name], clicks.SEPARATOR).to_sparse()
    return features


def _logits(features: dict[str, Any]) -> Any:
    column = tf.feature_column
    hashed = {name: column.categorical_column_with_hash_bucket(name, size) for name, size in _BUCKETS.items()}
    numbers = [
        column.numeric_column("price", normalizer_fn=lambda x: (x - 50) / 30),
        column.numeric_column("age", normalizer_fn=lambda x: (x - 40) / 15),
        column.numeric_column("hour", normalizer_fn=lambda x: (x - 12) / 7),
        column.embedding_column(column.bucketized_column(column.numeric_column("price"), [20, 35, 50, 70, 100]), 4),
    ]
    crossed = column.crossed_column(["city", "category"], 1000)
    # The wide part remembers single ids and one crossing; the deep part generalizes over embeddings.
    wide = v1.feature_column.linear_model(features, [*hashed.values(), crossed], sparse_combiner="mean")
    deep = v1.feature_column.input_layer(
        features, [*numbers, *(column.embedding_column(categorical, 8) for categorical in hashed.values())]
    )
    deep = tf.nn.relu(_dense("deep_1", deep, 64))
    deep = tf.nn.relu(_dense("deep_2", deep, 32))
    return tf.squeeze(_dense("out", deep, 1) + wide, 1)


def _dense(name: str, inputs: Any, units: int) -> Any:
    weights = v1.get_variable(f"{name}/kernel", [inputs.shape[1], units])
    return inputs @ weights + v1.get_variable(f"{name}/bias", [units], initializer=tf.zeros_initializer())


def _export(session: Any, placeholders: dict[str, Any], score: Any, folder: Path) -> None:
    examples = v1.placeholder(tf.string, [None], "examples")
    parsed = tf.io.parse_example(
        examples,
        {name: tf.io.FixedLenFeature([], tf.string, "") for name in clicks.STRINGS}
        | {name: tf.io.FixedLenFeature([], tf.float32, 0.0) for name in clicks.NUMBERS},
    )
    with v1.variable_scope("model", reuse=True):
        example_score = tf.sigmoid(_logits(_features(parsed)))
    classes = tf.tile(tf.constant([["no click", "click"]]), [tf.size(examples), 1])
    scores = tf.stack([1 - example_score, example_score], axis=1)
    info, build = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
    inputs = {"inputs": info(examples)}
    signatures = {
        "serving_default": build(
            {name: info(tensor) for name, tensor in placeholders.items()},
            {"score": info(score)},
            v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        ),
        "classify": build(
            inputs,
            {"classes": info(classes), "scores": info(scores)},
            v1.saved_model.signature_constants.CLASSIFY_METHOD_NAME,
        ),
        "regress": build(
            inputs, {"outputs": info(example_score)}, v1.saved_model.signature_constants.REGRESS_METHOD_NAME
        ),
    }
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(
        session, ["serve"], signature_def_map=signatures, main_op=v1.tables_initializer(), strip_default_attrs=True
    )
    builder.save()
