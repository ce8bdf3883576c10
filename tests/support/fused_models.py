"""`python -m tests.support.fused_models FOLDER [KIND...]`: a SavedModel for each kind of feature column, KIND/1.

Every model has one or two columns of its kind (random_N several of any), beside fed floats, through a dense layer.
Kinds are made by the libraries that people use: tf.feature_column (TF1), tf.nn's lookups over split strings (TF2),
and Keras' layers.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
column = tf.feature_column

WORDS = ["v1", "v2", "v3", "v10", "a", "", "-1", "7"]
_STRING, _INT, _FLOAT = (tf.string, [None, 1]), (tf.int64, [None, 1]), (tf.float32, [None, 1])


def _columns_v1(kind: str, x: str = "x") -> tuple[dict[str, tuple[Any, list[int | None]]], list[Any]]:
    """Inputs, and columns over them."""
    words, numbers = {x: _STRING}, {x: _INT}
    hashed = column.categorical_column_with_hash_bucket(x, 50)
    match kind:
        case "hash" | "two_signatures":
            return words, [column.embedding_column(hashed, 8)]
        case "hash_sum":
            return words, [column.embedding_column(hashed, 4, combiner="sum")]
        case "hash_sqrtn":
            return words, [column.embedding_column(hashed, 3, combiner="sqrtn")]
        case "hash_wide":
            return {x: (tf.string, [None, 3])}, [column.embedding_column(hashed, 8)]
        case "hash_int":
            ints = column.categorical_column_with_hash_bucket(x, 20, tf.int64)
            return numbers, [column.embedding_column(ints, 8)]
        case "hash_int32":
            ints = column.categorical_column_with_hash_bucket(x, 20, tf.int32)
            return {x: (tf.int32, [None, 2])}, [column.embedding_column(ints, 8)]
        case "vocabulary":
            listed = column.categorical_column_with_vocabulary_list(x, WORDS)
            return words, [column.embedding_column(listed, 8)]
        case "vocabulary_oov":
            listed = column.categorical_column_with_vocabulary_list(x, WORDS[:5], num_oov_buckets=3)
            return words, [column.embedding_column(listed, 8)]
        case "vocabulary_default":
            listed = column.categorical_column_with_vocabulary_list(x, WORDS[:5], default_value=2)
            return words, [column.embedding_column(listed, 8)]
        case "vocabulary_int":
            listed = column.categorical_column_with_vocabulary_list(x, [3, 1, 0, 9], tf.int64)
            return numbers, [column.embedding_column(listed, 8)]
        case "identity":
            return numbers, [column.embedding_column(column.categorical_column_with_identity(x, 10), 8)]
        case "identity_default":
            limited = column.categorical_column_with_identity(x, 5, default_value=2)
            return numbers, [column.embedding_column(limited, 8)]
        case "bucketized":
            buckets = column.bucketized_column(column.numeric_column(x), [-1.0, 0.0, 0.5, 2.0])
            return {x: _FLOAT}, [column.embedding_column(buckets, 8)]
        case "bucketized_one_hot":
            return {x: _FLOAT}, [column.bucketized_column(column.numeric_column(x), [-1.0, 0.0, 0.5, 2.0])]
        case "indicator":
            listed = column.categorical_column_with_vocabulary_list(x, WORDS[:5], num_oov_buckets=1)
            return words, [column.indicator_column(listed)]
        case "indicator_hash":
            return {x: (tf.string, [None, 3])}, [column.indicator_column(hashed)]
        case "crossed":
            crossed = column.crossed_column([x, "y"], 40)
            return {x: _STRING, "y": _STRING}, [column.embedding_column(crossed, 8)]
        case "shared":
            other = column.categorical_column_with_hash_bucket("y", 50)
            columns = v1.feature_column.shared_embedding_columns([hashed, other], 8)
            return {x: _STRING, "y": _STRING}, list(columns)
        case "max_norm":
            return words, [column.embedding_column(hashed, 8, max_norm=0.5)]
        case "weighted":
            weighted = column.weighted_categorical_column(hashed, "y")
            return {x: (tf.string, [None, 3]), "y": (tf.float32, [None, 3])}, [column.embedding_column(weighted, 8)]
        case "partitioned":
            return {x: (tf.string, [None, 2])}, [column.embedding_column(hashed, 8)]
        case "numeric":
            scaled = column.numeric_column("y", normalizer_fn=lambda y: (y - 3) / 2)
            return {x: _STRING, "y": _FLOAT}, [column.embedding_column(hashed, 8), scaled]
    raise KeyError(kind)


# fmt: off
COLUMNS_V1 = (
    "hash", "hash_sum", "hash_sqrtn", "hash_wide", "hash_int", "hash_int32", "vocabulary", "vocabulary_oov",
    "vocabulary_default", "vocabulary_int", "identity", "identity_default", "bucketized", "bucketized_one_hot",
    "indicator", "indicator_hash", "crossed", "shared", "max_norm", "numeric",
    "two_signatures", "weighted", "partitioned",
)
# fmt: on


# Columns that a random model takes several of, each over inputs of its own.
_ALONE = ("crossed", "shared", "numeric", "max_norm", "two_signatures", "partitioned", "weighted")
_MIXED = [kind for kind in COLUMNS_V1 if kind not in _ALONE]


def _random_columns(seed: int) -> tuple[dict[str, tuple[Any, list[int | None]]], list[Any]]:
    source = np.random.default_rng(seed)
    inputs: dict[str, tuple[Any, list[int | None]]] = {}
    columns = []
    for number, kind in enumerate(source.choice(_MIXED, size=source.integers(2, 7))):
        found, made = _columns_v1(str(kind), f"x{number}")
        inputs |= found
        columns += made
    return inputs, columns


def _write_v1(kind: str, folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        random = kind.startswith("random_")
        inputs, columns = _random_columns(int(kind.split("_")[1])) if random else _columns_v1(kind)
        placeholders = {name: v1.placeholder(dtype, shape, name) for name, (dtype, shape) in inputs.items()}
        floats = v1.placeholder(tf.float32, [None, 3], "floats")
        parts = v1.fixed_size_partitioner(3) if kind == "partitioned" else None
        with v1.variable_scope("columns", partitioner=parts):
            x = tf.concat([v1.feature_column.input_layer(placeholders, columns), floats], 1)
        weights = v1.get_variable("w", [x.shape[1], 4], initializer=v1.random_normal_initializer())
        y = tf.nn.softmax(x @ weights)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {name: info(tensor) for name, tensor in {**placeholders, "floats": floats}.items()},
            {"y": info(y)},
            "tensorflow/serving/predict",
        )
        builder = v1.saved_model.Builder(str(folder))
        signatures = {"serving_default": signature}
        if kind == "two_signatures":
            words = {"upper": info(tf.strings.upper(placeholders["x"]))}
            signatures["words"] = v1.saved_model.build_signature_def(
                {"x": info(placeholders["x"])}, words, "tensorflow/serving/predict"
            )
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=v1.tables_initializer())
        builder.save()


class _Split(tf.Module):
    """Strings split to lists, their hashes looked up."""

    def __init__(self, look_up: Callable[[Any, Any], Any], rows: int = 40, dimension: int = 8) -> None:
        super().__init__()
        source = np.random.default_rng(1)
        self.rows = rows
        self.table = tf.Variable(source.standard_normal((rows, dimension), np.float32))
        self.weights = tf.Variable(source.standard_normal((dimension + 3, 2), np.float32))
        self.look_up = look_up

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x"), tf.TensorSpec([None, 3], tf.float32, "f")])
    def serve(self, x: tf.Tensor, f: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tf.strings.split(x, ";")
        ids = pieces.with_flat_values(tf.strings.to_hash_bucket_fast(pieces.flat_values, self.rows))
        features = self.look_up(self.table, ids)
        return {"y": tf.concat([features, f], 1) @ self.weights}


class _Buckets(tf.Module):
    """Ids that the dense part takes as they are, beside a lookup."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(1).standard_normal((10, 4), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x"), tf.TensorSpec([None, 3], tf.float32, "f")])
    def serve(self, x: tf.Tensor, f: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = tf.strings.to_hash_bucket_fast(tf.strings.as_string(x), 10)
        buckets = tf.raw_ops.Bucketize(input=f[:, :1], boundaries=[-0.5, 0.5])
        doubled = tf.one_hot(buckets, 3, on_value=2.0)
        squares = tf.cast(tf.cast(ids, tf.int32) * tf.cast(ids, tf.int32), tf.float32)
        return {
            "y": tf.concat([tf.gather(self.table, ids), doubled[:, 0], squares[:, None]], 1),
            "buckets": tf.identity(buckets),
        }


def _attend(table: Any, words: Any) -> Any:
    """Of [batch, length] strings, as long as the longest row: looked up, masked, and summed up by scores."""
    rows = tf.gather(table, tf.strings.to_hash_bucket_fast(words, 40))
    scores = tf.where(words != "", tf.reduce_sum(rows, 2), -1e9)
    lengths = tf.reduce_sum(tf.cast(words != "", tf.float32), 1, keepdims=True)
    return tf.reduce_sum(tf.nn.softmax(scores)[:, :, None] * rows, 1) + lengths


class _Sequences(tf.Module):
    """Behaviour sequences of any length, as ragged and as sparse tensors made dense."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(1).standard_normal((40, 8), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x"), tf.TensorSpec([None], tf.string, "f")])
    def serve(self, x: tf.Tensor, f: tf.Tensor) -> dict[str, tf.Tensor]:
        ragged = tf.strings.split(x, ";").to_tensor()
        sparse = tf.sparse.to_dense(v1.string_split(f, ",", skip_empty=True), "")
        return {"y": tf.concat([_attend(self.table, ragged), _attend(self.table, sparse)], 1)}


class _Strings(tf.Module):
    """Answers in strings, of which some are looked up: TensorFlow's work, behind a feature that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(1).standard_normal((10, 4), np.float32))
        keys = tf.lookup.KeyValueTensorInitializer(WORDS, tf.range(len(WORDS), dtype=tf.int64))
        self.words = tf.lookup.StaticHashTable(keys, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x"), tf.TensorSpec([None], tf.string, "f")])
    def serve(self, x: tf.Tensor, f: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.gather(self.table, tf.strings.to_hash_bucket_fast(x, 10))
        joined = tf.strings.join([f, tf.gather(tf.constant(["a", "b", "c", "d"]), tf.argmax(rows, 1))])
        return {"y": tf.reduce_sum(rows, 1), "joined": joined, "ids": self.words.lookup(tf.strings.lower(f))}


class _Columns(tf.Module):
    """Columns of one input of ids, in a table that is a constant."""

    def __init__(self) -> None:
        super().__init__()
        source = np.random.default_rng(1)
        self.table = source.standard_normal((20, 6), np.float32)
        self.other = tf.Variable(source.standard_normal((30, 6), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int64, "x"), tf.TensorSpec([None, 5], tf.int64, "f")])
    def serve(self, x: tf.Tensor, f: tf.Tensor) -> dict[str, tf.Tensor]:
        left, right = tf.gather(tf.constant(self.table), x[:, 0]), tf.gather(self.other, x[:, 1])
        wide = tf.concat([tf.gather(self.table, f), tf.gather(self.other, f)], -1)
        last = tf.gather(self.other, x[:, -1:])
        return {"y": left * right, "last": last, "wide": tf.concat([tf.nn.softmax(wide), tf.tile(last, [1, 1, 2])], 1)}


class _Weights(tf.Module):
    """Lookups with weights, by each combiner; with the safe lookup, which drops weights that are not above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(1).standard_normal((40, 8), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.string, "x"), tf.TensorSpec([None, 3], tf.float32, "w")])
    def serve(self, x: tf.Tensor, w: tf.Tensor) -> dict[str, tf.Tensor]:
        where = tf.where(tf.not_equal(x, ""))
        shape = tf.shape(x, tf.int64)
        ids = tf.strings.to_hash_bucket_fast(tf.gather_nd(x, where), 40)
        sparse_ids = tf.SparseTensor(where, ids, shape)
        weights = tf.SparseTensor(where, tf.gather_nd(w, where), shape)
        safe = tf.nn.safe_embedding_lookup_sparse
        found = {name: safe(self.table, sparse_ids, weights, name) for name in ("sum", "mean", "sqrtn")}
        positive = tf.SparseTensor(where, 1.5 + tf.gather_nd(w, where) * 0.0, shape)
        for name in ("sum", "mean", "sqrtn"):
            found[f"plain_{name}"] = tf.nn.embedding_lookup_sparse(self.table, sparse_ids, positive, name)
        return {"y": tf.concat([*found.values(), w], 1)}


class _SparseInputs(tf.Module):
    """Sparse inputs as three tensors each, of strings and of ints."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(1).standard_normal((40, 8), np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.int64, "x_indices"),
            tf.TensorSpec([None], tf.string, "x_values"),
            tf.TensorSpec([2], tf.int64, "x_shape"),
            tf.TensorSpec([None, 2], tf.int64, "f_indices"),
            tf.TensorSpec([None], tf.int64, "f_values"),
            tf.TensorSpec([2], tf.int64, "f_shape"),
        ]
    )
    def serve(
        self, x_indices: Any, x_values: Any, x_shape: Any, f_indices: Any, f_values: Any, f_shape: Any
    ) -> dict[str, tf.Tensor]:
        words = tf.SparseTensor(x_indices, tf.strings.to_hash_bucket_fast(x_values, 40), x_shape)
        numbers = tf.SparseTensor(f_indices, f_values % 40, f_shape)
        safe = tf.nn.safe_embedding_lookup_sparse
        return {"y": tf.concat([safe(self.table, words), safe(self.table, numbers, combiner="sum")], 1)}


class _Examples(tf.Module):
    """tf.Examples with features of any length, and of one."""

    def __init__(self) -> None:
        super().__init__()
        source = np.random.default_rng(1)
        self.table = tf.Variable(source.standard_normal((40, 8), np.float32))
        self.rows = tf.Variable(source.standard_normal((40, 4), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.io.parse_example(
            examples,
            {
                "words": tf.io.VarLenFeature(tf.string),
                "numbers": tf.io.VarLenFeature(tf.int64),
                "weights": tf.io.VarLenFeature(tf.float32),
                "one": tf.io.FixedLenFeature([1], tf.int64, default_value=3),
                "price": tf.io.FixedLenFeature([], tf.float32),
            },
        )
        words = found["words"]
        hashed = tf.SparseTensor(words.indices, tf.strings.to_hash_bucket_fast(words.values, 40), words.dense_shape)
        numbers = tf.SparseTensor(found["numbers"].indices, found["numbers"].values % 40, found["numbers"].dense_shape)
        return {
            "words": tf.nn.safe_embedding_lookup_sparse(self.table, hashed, combiner="mean"),
            "numbers": tf.nn.safe_embedding_lookup_sparse(self.rows, numbers, combiner="sum"),
            "one": tf.gather(self.table, tf.math.floormod(found["one"][:, 0], 40)),
            "price": found["price"] * 2.0,
            "weights": tf.sparse.reduce_sum(found["weights"], 1),
        }


MODULES: dict[str, type[tf.Module]] = {
    "int_features": _Buckets,
    "strings_out": _Strings,
    "columns_of_ids": _Columns,
    "sequences": _Sequences,
    "sparse_inputs": _SparseInputs,
    "weights": _Weights,
    "examples": _Examples,
}


SPLIT: dict[str, Callable[[Any, Any], Any]] = {
    "split_mean": lambda table, ids: tf.nn.embedding_lookup_sparse(table, ids.to_sparse(), None, combiner="mean"),
    "split_sum": lambda table, ids: tf.nn.embedding_lookup_sparse(table, ids.to_sparse(), None, combiner="sum"),
    "split_ragged": lambda table, ids: tf.nn.embedding_lookup_sparse(table, ids, None, combiner="sqrtn"),
    "split_safe": lambda table, ids: tf.nn.safe_embedding_lookup_sparse(table, ids.to_sparse(), combiner="sum"),
    "split_default": lambda table, ids: tf.nn.safe_embedding_lookup_sparse(table, ids.to_sparse(), default_id=3),
    "split_reduce": lambda table, ids: tf.reduce_sum(tf.gather(table, ids), 1),
    "split_reduce_mean": lambda table, ids: tf.reduce_mean(tf.gather(table, ids), 1),
}


def _keras(kind: str) -> tuple[dict[str, Any], Any]:
    import keras

    layers = keras.layers
    floats = keras.Input((3,), name="f")

    def table(ids: Any, rows: int = 30) -> Any:
        return layers.Flatten()(layers.Embedding(rows, 8)(ids))

    match kind:
        case "keras_hashing":
            x = keras.Input((1,), dtype="string", name="x")
            features = table(layers.Hashing(30)(x))
        case "keras_string_lookup":
            x = keras.Input((1,), dtype="string", name="x")
            features = table(layers.StringLookup(vocabulary=[w for w in WORDS if w], num_oov_indices=2)(x))
        case "keras_integer_lookup":
            x = keras.Input((1,), dtype="int64", name="x")
            features = table(layers.IntegerLookup(vocabulary=[3, 1, 9, 12])(x))
        case "keras_discretization":
            x = keras.Input((1,), name="x")
            features = table(layers.Discretization([-1.0, 0.0, 2.0])(x))
        case "keras_category":
            x = keras.Input((1,), dtype="string", name="x")
            ids = layers.StringLookup(vocabulary=[w for w in WORDS if w])(x)
            features = layers.CategoryEncoding(num_tokens=9, output_mode="multi_hot")(ids)
        case "keras_embedding":
            x = keras.Input((4,), dtype="int64", name="x")
            features = table(x)
        case "keras_salted":
            x = keras.Input((2,), dtype="string", name="x")
            features = table(layers.Hashing(30, salt=[7, 1 << 40])(x))
        case "keras_crossed":
            x = keras.Input((1,), dtype="string", name="x")
            y = keras.Input((1,), dtype="string", name="y")
            features = layers.HashedCrossing(16, output_mode="one_hot")((x, y))
            return {"x": x, "y": y, "f": floats}, layers.Dense(2)(layers.Concatenate()([features, floats]))
        case "keras_text":
            x = keras.Input((1,), dtype="string", name="x")
            words = layers.TextVectorization(20, output_sequence_length=4, vocabulary=[w for w in WORDS if w])
            features = table(words(x))
        case "keras_sequence":
            x = keras.Input((None,), dtype="int64", name="x")
            features = layers.GlobalAveragePooling1D()(layers.Embedding(30, 8, mask_zero=True)(x))
    y = layers.Dense(2)(layers.Concatenate()([features, floats]))
    return {"x": x, "f": floats}, y


# fmt: off
KERAS = (
    "keras_hashing", "keras_string_lookup", "keras_integer_lookup", "keras_discretization", "keras_category",
    "keras_embedding", "keras_sequence", "keras_salted", "keras_crossed", "keras_text",
)
# fmt: on
RANDOM = tuple(f"random_{seed}" for seed in range(8))
KINDS = (*COLUMNS_V1, *MODULES, *SPLIT, *KERAS, *RANDOM)


def write(kind: str, folder: Path) -> None:
    if kind in (*COLUMNS_V1, *RANDOM):
        _write_v1(kind, folder)
    elif kind in MODULES:
        module = MODULES[kind]()
        tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    elif kind in SPLIT:
        model = _Split(SPLIT[kind])
        tf.saved_model.save(model, str(folder), {"serving_default": model.serve})
    else:
        import keras

        keras.utils.set_random_seed(1)
        inputs, y = _keras(kind)
        keras.Model(inputs, {"y": y}).export(str(folder), verbose=False)


if __name__ == "__main__":
    for name in sys.argv[2:] or KINDS:
        write(name, Path(sys.argv[1]) / name / "1")
