"""`python -m bench.outside_models FOLDER PACKAGE`: models as deepctr, tensorflow-recommenders and Keras build them.

PACKAGE is deepctr, recommenders or keras. Each model is written to FOLDER/PACKAGE-NAME/1, untrained. The first two need
Keras 2: `tf-keras`, and TF_USE_LEGACY_KERAS=1 in the environment.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

WORDS = [f"w{number}" for number in range(50)]


def deepctr(folder: Path) -> None:
    from deepctr import models
    from deepctr.feature_column import DenseFeat, SparseFeat, VarLenSparseFeat

    columns = [
        SparseFeat(f"c{index}", 100, embedding_dim=8, use_hash=index % 2 == 1, dtype=("int32", "string")[index % 2])
        for index in range(6)
    ]
    columns += [DenseFeat(f"d{index}", 1) for index in range(3)]
    genres, tags = (SparseFeat(name, 50, embedding_dim=8) for name in ("genres", "tags"))
    columns += [
        VarLenSparseFeat(genres, maxlen=5, combiner="mean"),
        VarLenSparseFeat(tags, maxlen=4, combiner="sum", length_name="tags_len"),
    ]
    items, categories = SparseFeat("item_id", 64, embedding_dim=8), SparseFeat("cate_id", 32, embedding_dim=4)
    history = [SparseFeat("user", 100, embedding_dim=8), items, categories, DenseFeat("pay", 1)]
    for name, rows, dimension in (("item_id", 64, 8), ("cate_id", 32, 4)):
        sequence = SparseFeat(f"hist_{name}", rows, embedding_dim=dimension, embedding_name=name)
        history.append(VarLenSparseFeat(sequence, maxlen=6, length_name="seq_length"))

    for name in ("WDL", "DeepFM", "DCN", "DCNMix", "xDeepFM", "AutoInt", "NFM", "FiBiNET"):
        _save(getattr(models, name)(columns, columns), folder / f"deepctr-{name}")
    _save(models.PNN(columns), folder / "deepctr-PNN")
    _save(models.DIN(history, ["item_id", "cate_id"]), folder / "deepctr-DIN")
    _save(models.BST(history, ["item_id", "cate_id"], att_head_num=4), folder / "deepctr-BST")


def recommenders(folder: Path) -> None:
    import tensorflow_recommenders as tfrs

    keras = tf.keras
    layers = keras.layers

    def lookup(dimension: int) -> Any:
        words = layers.StringLookup(vocabulary=WORDS, mask_token=None)
        return keras.Sequential([words, layers.Embedding(len(WORDS) + 1, dimension)])

    class Ranking(tfrs.models.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.user, self.movie = lookup(16), lookup(16)
            self.ratings = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(1)])

        def call(self, inputs: dict[str, Any]) -> Any:
            return self.ratings(tf.concat([self.user(inputs["user_id"]), self.movie(inputs["movie_title"])], 1))

    class Tower(keras.Model):  # type: ignore[misc]
        """A query tower: who, when, and the words of a title."""

        def __init__(self) -> None:
            super().__init__()
            self.user = lookup(32)
            buckets = layers.Discretization(np.linspace(0, 1e9, 100).tolist())
            self.time = keras.Sequential([buckets, layers.Embedding(102, 32)])
            text = layers.TextVectorization(max_tokens=200, vocabulary=["the", "of", "star", "wars"])
            masked = layers.Embedding(200, 32, mask_zero=True)
            self.text = keras.Sequential([text, masked, layers.GlobalAveragePooling1D()])
            self.dense = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(32)])

        def call(self, inputs: dict[str, Any]) -> Any:
            parts = [self.user(inputs["user_id"]), self.time(inputs["timestamp"]), self.text(inputs["movie_title"])]
            return self.dense(tf.concat(parts, 1))

    class Users(keras.Model):  # type: ignore[misc]
        """A query tower of one column."""

        def __init__(self) -> None:
            super().__init__()
            self.user, self.dense = lookup(32), layers.Dense(32)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.user(inputs))

    class Cross(tfrs.models.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = {name: lookup(32) for name in ("user_id", "zip", "gender")}
            numbers = layers.IntegerLookup(vocabulary=list(range(10)), mask_token=None)
            self.age = keras.Sequential([numbers, layers.Embedding(11, 32)])
            self.cross = tfrs.layers.dcn.Cross(projection_dim=8)
            self.deep = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(32, "relu"), layers.Dense(1)])

        def call(self, inputs: dict[str, Any]) -> Any:
            parts = [look_up(inputs[name]) for name, look_up in self.words.items()]
            return self.deep(self.cross(tf.concat([*parts, self.age(inputs["age"])], 1)))

    class Interaction(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tables = [layers.Embedding(100, 16) for _ in range(4)]
            self.bottom = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(16)])
            self.dots = tfrs.layers.feature_interaction.DotInteraction()
            self.top = layers.Dense(1, "sigmoid")

        def call(self, inputs: dict[str, Any]) -> Any:
            bottom = self.bottom(inputs["dense"])
            found = [table(inputs[f"c{index}"]) for index, table in enumerate(self.tables)]
            return self.top(tf.concat([bottom, self.dots([bottom, *found])], 1))

    words = {name: tf.constant(["w1"]) for name in ("user_id", "movie_title", "zip", "gender")}
    _save(Ranking(), folder / "recommenders-ranking", {name: words[name] for name in ("user_id", "movie_title")})
    tower = Tower()
    inputs = {"user_id": words["user_id"], "movie_title": words["movie_title"], "timestamp": tf.constant([3e8])}
    _save(tower, folder / "recommenders-tower", inputs)
    index = tfrs.layers.factorized_top_k.BruteForce(Users(), k=5)
    index.index(tf.random.normal((1000, 32), seed=1), tf.constant([f"movie {number}" for number in range(1000)]))
    _save(index, folder / "recommenders-brute-force", words["user_id"])
    ages = {"age": tf.constant([3], tf.int64)}
    _save(Cross(), folder / "recommenders-dcn", {name: words[name] for name in ("user_id", "zip", "gender")} | ages)
    ids = {f"c{index}": tf.constant([1], tf.int64) for index in range(4)}
    _save(Interaction(), folder / "recommenders-dlrm", ids | {"dense": tf.ones((1, 4))})


def _save(model: Any, folder: Path, inputs: Any = None) -> None:
    if inputs is not None:
        model(inputs)
    tf.saved_model.save(model, str(folder / "1"))


def keras_examples(folder: Path) -> None:
    """As in Keras' guides on structured data: preprocessing layers and FeatureSpace inside the model."""
    import keras

    layers, space = keras.layers, keras.utils.FeatureSpace

    def export(name: str, model: Any, **options: Any) -> None:
        model.export(str(folder / f"keras-{name}" / "1"), verbose=False, **options)

    def text(name: str, width: int = 1) -> Any:
        return keras.Input((width,), name=name, dtype="string")

    features = space(
        {
            "sex": space.integer_categorical(num_oov_indices=0),
            "thal": "string_categorical",
            "age": space.float_discretized(num_bins=8),
            "chol": "float_normalized",
            "cp": space.string_hashed(num_bins=16),
        },
        crosses=[("sex", "age"), ("thal", "cp")],
        crossing_dim=32,
        output_mode="concat",
    )
    source = np.random.default_rng(0)
    rows = {"sex": source.integers(0, 2, 100), "thal": source.choice(WORDS[:4], 100), "cp": source.choice(WORDS, 100)}
    rows |= {name: source.random(100, np.float32) * 80 for name in ("age", "chol")}
    features.adapt(tf.data.Dataset.from_tensor_slices(rows).batch(20))
    x = layers.Dense(32, activation="relu")(features.get_encoded_features())
    export("feature-space", keras.Model(features.get_inputs(), layers.Dense(1, activation="sigmoid")(x)))

    inputs = {name: text(name) for name in ("workclass", "education", "job", "city")}
    inputs |= {name: keras.Input((1,), name=name) for name in ("age", "hours")}
    inputs["zip"] = keras.Input((1,), name="zip", dtype="int64")
    encoded = []
    for name in ("workclass", "education"):
        ids = layers.StringLookup(vocabulary=WORDS, mask_token=None)(inputs[name])
        encoded.append(layers.Flatten()(layers.Embedding(52, 8)(ids)))
    encoded.append(layers.StringLookup(vocabulary=WORDS, output_mode="one_hot")(inputs["job"]))
    encoded += [layers.Normalization(mean=30.0, variance=9.0)(inputs[name]) for name in ("age", "hours")]
    encoded.append(layers.IntegerLookup(vocabulary=list(range(30)), output_mode="multi_hot")(inputs["zip"]))
    hashed = layers.Hashing(64, salt=1337)(inputs["city"])
    encoded.append(layers.CategoryEncoding(num_tokens=64, output_mode="one_hot")(hashed))
    x = layers.Dense(64, activation="relu")(layers.Concatenate()(encoded))
    export("census", keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)))

    title = text("title")
    ids = layers.TextVectorization(max_tokens=100, output_sequence_length=8, vocabulary=WORDS)(title)
    x = layers.GlobalAveragePooling1D()(layers.Embedding(100, 16)(ids))
    export("text", keras.Model(title, layers.Dense(1)(x)))

    class Collaborative(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.users, self.movies = layers.Embedding(100, 50), layers.Embedding(200, 50)
            self.user_bias, self.movie_bias = layers.Embedding(100, 1), layers.Embedding(200, 1)

        def call(self, pairs: Any) -> Any:
            users, movies = pairs[:, 0], pairs[:, 1]
            dots = keras.ops.sum(self.users(users) * self.movies(movies), axis=1, keepdims=True)
            return keras.ops.sigmoid(dots + self.user_bias(users) + self.movie_bias(movies))

    model = Collaborative()
    model(np.zeros((2, 2), np.int64))
    export("collaborative", model, input_signature=[keras.InputSpec(shape=(None, 2), dtype="int64")])

    sequence, target = text("sequence", 8), text("target")
    words, table = layers.StringLookup(vocabulary=WORDS, mask_token=None), layers.Embedding(52, 16)
    positions = layers.Embedding(8, 16)(keras.ops.arange(8))
    x = keras.ops.concatenate([table(words(sequence)) + positions, table(words(target))], 1)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.Dense(16, activation=layers.LeakyReLU())(x)
    score = layers.Dense(1, activation="sigmoid")(layers.Flatten()(x))
    export("bst", keras.Model({"sequence": sequence, "target": target}, score))


PACKAGES = {"deepctr": deepctr, "recommenders": recommenders, "keras": keras_examples}

if __name__ == "__main__":
    PACKAGES[sys.argv[2]](Path(sys.argv[1]))
