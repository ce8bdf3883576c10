"""DeepFM and DIN as Keras 3 models that take strings through preprocessing layers.

(Guo et al., "DeepFM", 2017; Zhou et al., "Deep Interest Network", 2018.) Both are exported as TF2 functions with the
same inputs and output as Wide & Deep, so that they can stand beside it in an A/B test.
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from corelane.demo import clicks
from corelane.demo.clicks import Clicks

_BATCH = 512
_DIMENSION = 8
_BUCKETS = {"user_id": 2000, "item_id": 1000, "category": 50, "city": 50, "tags": 100}


class _Embeddings(keras.layers.Layer):
    """A hashed table for each field; "|"-separated fields have many ids a row."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.hashes = {name: keras.layers.Hashing(size) for name, size in _BUCKETS.items()}
        self.tables = {
            name: keras.layers.Embedding(size, dimension, embeddings_initializer="normal")
            for name, size in _BUCKETS.items()
        }

    def vectors_of(self, name: str, ids: Any) -> Any:
        """[rows] or [rows, length] strings to their vectors."""
        return self.tables[name](self.hashes[name](ids))

    def mean(self, name: str, lists: Any) -> Any:
        """[rows] of separated strings to the mean vector of each row."""
        vectors, present = self.sequence(name, lists)
        return tf.math.divide_no_nan(tf.reduce_sum(vectors * present, 1), tf.reduce_sum(present, 1))

    def sequence(self, name: str, lists: Any) -> tuple[Any, Any]:
        """[rows] of separated strings to vectors [rows, length, dimension] and which are there [rows, length, 1]."""
        split = tf.strings.split(lists, clicks.SEPARATOR)
        ids = split.to_tensor(default_value="", shape=[None, clicks.HISTORY_MAX])
        return self.vectors_of(name, ids), tf.cast(ids != "", tf.float32)[:, :, None]


def _numbers(inputs: dict[str, Any]) -> Any:
    scaled = [(inputs["price"] - 50) / 30, (inputs["age"] - 40) / 15, (inputs["hour"] - 12) / 7]
    return tf.stack(scaled, axis=1)


class DeepFM(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.fields = _Embeddings(_DIMENSION)
        self.weights_of_fields = _Embeddings(1)
        self.deep = keras.Sequential([keras.layers.Dense(64, "relu"), keras.layers.Dense(32, "relu")])
        self.out = keras.layers.Dense(1)

    def call(self, inputs: dict[str, Any]) -> Any:
        def fields(embeddings: _Embeddings) -> Any:
            singles = [embeddings.vectors_of(name, inputs[name]) for name in ("user_id", "item_id", "category", "city")]
            history = embeddings.mean("item_id", inputs["history"])
            return tf.stack([*singles, embeddings.mean("tags", inputs["tags"]), history], axis=1)

        vectors = fields(self.fields)
        pairs = tf.square(tf.reduce_sum(vectors, 1)) - tf.reduce_sum(tf.square(vectors), 1)
        flat = tf.reshape(vectors, [-1, 6 * _DIMENSION])
        deep = self.out(self.deep(tf.concat([flat, _numbers(inputs)], 1)))
        first = tf.reduce_sum(fields(self.weights_of_fields), [1, 2])
        return tf.sigmoid(first + 0.5 * tf.reduce_sum(pairs, 1) + deep[:, 0])


class DIN(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.fields = _Embeddings(_DIMENSION)
        self.attention = keras.Sequential([keras.layers.Dense(24, "relu"), keras.layers.Dense(1)])
        self.deep = keras.Sequential([keras.layers.Dense(64, "relu"), keras.layers.Dense(32, "relu")])
        self.out = keras.layers.Dense(1)

    def call(self, inputs: dict[str, Any]) -> Any:
        item = self.fields.vectors_of("item_id", inputs["item_id"])
        past, present = self.fields.sequence("item_id", inputs["history"])
        target = tf.broadcast_to(item[:, None, :], tf.shape(past))
        weights = self.attention(tf.concat([past, target, past - target, past * target], 2)) * present
        interest = tf.reduce_sum(past * weights, 1)
        singles = [self.fields.vectors_of(name, inputs[name]) for name in ("user_id", "category", "city")]
        deep = [*singles, item, interest, interest * item, self.fields.mean("tags", inputs["tags"]), _numbers(inputs)]
        return tf.sigmoid(self.out(self.deep(tf.concat(deep, 1)))[:, 0])


def train(model: keras.Model, data: Clicks, held_out: Clicks, folder: Path, epochs: int, seed: int) -> float:
    """Trains, exports to `folder`, and returns the AUC on held-out rows."""
    keras.utils.set_random_seed(seed)

    def tensors(columns: dict[str, Any]) -> dict[str, Any]:
        return {
            name: tf.constant(values.tolist() if name in clicks.STRINGS else values) for name, values in columns.items()
        }

    rows = tf.data.Dataset.from_tensor_slices((tensors(data.columns), data.labels))
    batches = rows.shuffle(len(data.labels), seed=seed).batch(_BATCH)
    optimizer = keras.optimizers.Adam(0.004)
    loss_of = keras.losses.BinaryCrossentropy()
    model({name: values[:1] for name, values in tensors(data.columns).items()})
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(inputs: dict[str, Any], labels: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(inputs))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(epochs):
        for inputs, labels in batches:
            step(inputs, labels)

    specs = {name: tf.TensorSpec([None], tf.string, name) for name in clicks.STRINGS}
    specs |= {name: tf.TensorSpec([None], tf.float32, name) for name in clicks.NUMBERS}

    @tf.function(input_signature=[specs])
    def serve(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"score": model(inputs)}

    result = clicks.auc(held_out.labels, serve(tensors(held_out.columns))["score"].numpy())
    # The variables and the function are the export; Keras would add a default function of its own for the model.
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    tf.saved_model.save(module, str(folder), signatures=serve.get_concrete_function())
    return result
