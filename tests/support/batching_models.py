"""`python -m tests.support.batching_models FOLDER`: SavedModels for what happens when requests run together.

rows/1      a signature for each function below: `apart_*` answer each row from that row, `joined_*` do not
effects/1   signatures that change a variable, a counter, a table, a file, a generator; `score` reads the variable
learning/1  `serving_default` looks hashed words up in a table of rows, and `learn` changes the table
"""

import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

FLOATS, WIDE = tf.TensorSpec([None], tf.float32, "v"), tf.TensorSpec([None, 3], tf.float32, "x")
IDS, WORDS = tf.TensorSpec([None], tf.int64, "i"), tf.TensorSpec([None], tf.string, "s")
STEPS = tf.TensorSpec([None, None, 4], tf.float32, "t")
OPEN, PAIR = tf.TensorSpec([None, 7], tf.float32, "y"), tf.TensorSpec([None, None], tf.float32, "p")
KEYS = tf.TensorSpec([None, 2], tf.int64, "k")
PAIRS = tf.lookup.experimental.DenseHashTable(
    tf.int64, tf.float32, default_value=1.0, empty_key=[-1, -1], deleted_key=[-2, -2]
)

WEIGHTS = tf.random.stateless_normal([3, 5], [1, 2])
SQUARE = tf.random.stateless_normal([4, 4], [3, 4])
TABLE = tf.random.stateless_normal([10, 4], [5, 6])

APART: dict[str, tuple[Callable[..., tf.Tensor], list[tf.TensorSpec]]] = {
    "dense": (lambda x: tf.nn.relu(tf.matmul(x, tf.constant(WEIGHTS.numpy())) + 1.0), [WIDE]),
    "softmax": (tf.nn.softmax, [WIDE]),
    "sums": (lambda x: tf.reduce_sum(x, 1) + tf.reduce_max(x, -1), [WIDE]),
    "tensordot": (lambda t: tf.tensordot(t, tf.constant(SQUARE.numpy()), 1), [STEPS]),
    "lookup": (lambda i: tf.gather(tf.constant(TABLE.numpy()), i % 10), [IDS]),
    "attention": (lambda t: tf.matmul(tf.nn.softmax(tf.matmul(t, t, transpose_b=True)), t), [STEPS]),
    "concat": (lambda x, v: tf.concat([x, v[:, None]], 1), [WIDE, FLOATS]),
    "flattened": (lambda x: tf.reshape(tf.reshape(x, [-1, 3, 1]), [tf.shape(x)[0], 3]), [WIDE]),
    "normalised": (lambda x: (x - tf.reduce_mean(x, -1, True)) / (1 + tf.math.reduce_std(x, -1, True)), [WIDE]),
    "ones": (lambda x: tf.concat([x, tf.ones([tf.shape(x)[0], 2])], 1), [WIDE]),
    "tiled": (lambda x: x + tf.tile(tf.constant([[1.0, 2.0, 3.0]]), [tf.shape(x)[0], 1]), [WIDE]),
    "einsum": (lambda t: tf.einsum("bti,ij->btj", t, tf.constant(SQUARE.numpy())), [STEPS]),
    "where": (lambda x: tf.where(x > 0, x, 0.1 * x), [WIDE]),
    "one_hot": (lambda i: tf.one_hot(i % 5, 5), [IDS]),
    "hashed": (lambda s: tf.strings.to_hash_bucket_fast(tf.strings.lower(s), 10), [WORDS]),
    "picked": (lambda t, i: tf.gather(t, i[:, None] * 0, axis=1, batch_dims=1), [STEPS, IDS]),
    "masked": (
        lambda t: tf.reduce_sum(tf.where(t > 0, t, 0.0), 1) / (1 + tf.cast(tf.shape(t)[1], tf.float32)),
        [STEPS],
    ),
    "split": (lambda x: tf.split(x, 3, 1)[0] + tf.unstack(x, axis=1)[1][:, None], [WIDE]),
    "top": (lambda x: tf.math.top_k(x, 2)[0], [WIDE]),
    "sliced": (lambda x: x[:, 1:] * x[..., 1:], [WIDE]),
    "transposed": (lambda t: tf.transpose(t, [0, 2, 1]), [STEPS]),
    "sequence_mask": (lambda i: tf.sequence_mask(i % 5, 5), [IDS]),
}

JOINED: dict[str, tuple[Callable[..., tf.Tensor], list[tf.TensorSpec]]] = {
    "softmax_over_rows": (lambda x: tf.nn.softmax(x, axis=0), [WIDE]),
    "softmax_of_a_vector": (tf.nn.softmax, [FLOATS]),
    "centred": (lambda x: x - tf.reduce_mean(x, 0), [WIDE]),
    "ranks": (lambda v: tf.argsort(tf.argsort(v)), [FLOATS]),
    "bags": (lambda i, x: tf.gather(tf.math.unsorted_segment_sum(x, i % 4, 4), i % 4), [IDS, WIDE]),
    "other_input": (lambda x, i: tf.gather(x, i % tf.shape(x, tf.int64)[0]), [WIDE, IDS]),
    "repeat": (lambda i: tf.repeat(i, i), [IDS]),
    "user_of_all": (lambda x, v: x[:1] * v[:, None], [WIDE, FLOATS]),
    "normalised_by_all": (lambda x: x / (1 + tf.norm(x)), [WIDE]),
    "gram": (lambda x: tf.matmul(x, x, transpose_b=True), [WIDE]),
    "outer": (lambda v, x: v + x[:, :1], [FLOATS, WIDE]),
    "number_of_rows": (lambda x: x * tf.cast(tf.shape(x)[0], tf.float32), [WIDE]),
    "place": (lambda x: x + tf.cast(tf.range(tf.shape(x)[0])[:, None], tf.float32), [WIDE]),
    "reversed": (lambda x: tf.reverse(x, [0]), [WIDE]),
    "running_sum": (tf.cumsum, [WIDE]),
    "previous": (lambda x: tf.roll(x, 1, 0), [WIDE]),
    "unique": (lambda i: tf.unique(i)[1], [IDS]),
    "transposed_twice": (lambda x: tf.reshape(tf.transpose(x), tf.shape(x)), [WIDE]),
    "pairs": (lambda x: tf.reduce_sum(tf.reshape(x, [-1, 1]), 1), [WIDE]),
    "squeezed": (tf.squeeze, [WIDE]),
    "branch": (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x), [WIDE]),
    "loop": (
        lambda x: tf.while_loop(lambda y: tf.reduce_any(y < 10.0), lambda y: [tf.abs(y) * 2.0 + 1], [x])[0],
        [WIDE],
    ),
    "padded_to_the_longest": (lambda s: tf.strings.split(s, "x").to_tensor(), [WORDS]),
    "fixed_rows": (lambda x: x[:1] + tf.zeros([4, 3]), [WIDE]),
    "positive": (lambda x: tf.boolean_mask(x, x[:, 0] > 0), [WIDE]),
    "weights_of_rows": (lambda x, v: tf.linalg.matvec(tf.transpose(x), v), [WIDE, FLOATS]),
    "batch_norm": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(x[:, None, None, :], [1.0] * 3, [0.0] * 3, is_training=True)[0],
        [WIDE],
    ),
    "sorted": (lambda x: tf.sort(x, axis=0), [WIDE]),
    "every_other": (lambda x: x[::2], [WIDE]),
    "last_columns_by_count": (lambda y: tf.reduce_sum(y[:, tf.shape(y)[0] - 1 :], 1), [OPEN]),
    "first_columns_by_count": (lambda y: tf.reduce_sum(y[:, : tf.shape(y)[0]], 1), [OPEN]),
    "column_by_count": (lambda y: y[:, tf.minimum(tf.shape(y)[0], 6) - 1], [OPEN]),
    "shape_with_an_axis": (lambda x: x * tf.cast(tf.shape(x)[tf.newaxis], tf.float32)[0, 0], [WIDE]),
    "shape_by_ellipsis": (lambda x: x * tf.reduce_sum(tf.cast(tf.shape(x)[...], tf.float32)), [WIDE]),
    "shape_reshaped": (lambda p: p * tf.cast(tf.reshape(tf.shape(p), tf.shape(p)[1:]), tf.float32), [PAIR]),
    "vector_keys": (lambda k: tf.nn.softmax(PAIRS.lookup(k)), [KEYS]),
    "counted": (lambda i: tf.fill([tf.shape(i)[0]], tf.shape(i)[0]), [IDS]),
}


class Effects(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(2.0)
        self.count = tf.Variable(0, dtype=tf.int64)
        self.keys = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
        self.random = tf.random.Generator.from_seed(7)
        self.row = tf.Variable(tf.zeros([4]))
        self.words = tf.Variable(["old"] * 4)

    @tf.function(input_signature=[FLOATS])
    def score(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.weight * v}

    @tf.function(input_signature=[FLOATS])
    def train(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        before = tf.identity(self.weight)
        with tf.control_dependencies([before]), tf.control_dependencies([self.weight.assign(tf.reduce_sum(v))]):
            return {"before": tf.identity(before)}

    @tf.function(input_signature=[])
    def next(self) -> dict[str, tf.Tensor]:
        return {"count": self.count.assign_add(1)}

    @tf.function(input_signature=[IDS])
    def put(self, i: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([self.keys.insert(i, i)]):
            return {"size": self.keys.size()}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path"), FLOATS])
    def save(self, path: tf.Tensor, v: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies(
            [tf.io.write_file(tf.strings.join([path, "written"]), tf.strings.format("{}", v))]
        ):
            return {"path": tf.identity(path)}

    @tf.function(input_signature=[FLOATS])
    def noise(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": v + self.random.normal([1])}

    @tf.function(input_signature=[FLOATS])
    def seeded(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": v + tf.random.uniform([1], seed=3)}

    @tf.function(input_signature=[FLOATS])
    def unseeded(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": v + 0 * tf.random.uniform([1])}

    @tf.function(input_signature=[FLOATS])
    def inplace(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        """An op that is not stateful by its definition, and writes into the variable's memory."""
        one = tf.reshape(tf.reduce_sum(v) + 1, [1])
        return {"y": tf.raw_ops.InplaceAdd(x=self.row.read_value(), i=[0], v=one)}

    @tf.function(input_signature=[])
    def read(self) -> dict[str, tf.Tensor]:
        return {"words": self.words.read_value(), "row": self.row.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([4], tf.string, "s")])
    def write_each(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([self.words.scatter_nd_update([[0], [1], [2], [3]], s)]):
            return {"y": tf.constant(1)}

    @tf.function(input_signature=[tf.TensorSpec([4], tf.string, "s")])
    def write_all(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([self.words[0:4].assign(s)]):
            return {"y": tf.constant(1)}

    @tf.function(input_signature=[FLOATS])
    def hidden(self, v: tf.Tensor) -> dict[str, tf.Tensor]:
        """The change is in a branch's function, and nothing of it is returned."""
        tf.cond(tf.reduce_sum(v) > -1, lambda: self.count.assign_add(100), lambda: self.count.read_value())
        return {"y": v + 1}


class Learning(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(tf.zeros([50, 4]))
        self.weights = tf.Variable(tf.ones([4, 2]))

    def _rows(self, word: tf.Tensor) -> tf.Tensor:
        return tf.nn.embedding_lookup(self.table, tf.strings.to_hash_bucket_fast(word, 50))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def score(self, word: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(self._rows(word), self.weights)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "step")])
    def learn(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(self.table.assign_add(tf.fill([50, 4], step)))}


def main(folder: Path) -> None:
    module = tf.Module()
    module.pairs = PAIRS
    signatures = {}
    for prefix, functions in (("apart", APART), ("joined", JOINED)):
        for name, (function, specs) in functions.items():
            traced = tf.function(
                lambda *inputs, function=function: {"y": function(*inputs)}, input_signature=specs
            ).get_concrete_function()
            signatures[f"{prefix}_{name}"] = traced
    tf.saved_model.save(module, str(folder / "rows/1"), signatures)
    learning = Learning()
    learned = {"serving_default": learning.score, "learn": learning.learn}
    tf.saved_model.save(learning, str(folder / "learning/1"), learned)
    effects = Effects()
    names = [
        name for name in dir(Effects) if isinstance(getattr(effects, name), tf.types.experimental.PolymorphicFunction)
    ]
    tf.saved_model.save(effects, str(folder / "effects/1"), {name: getattr(effects, name) for name in names})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
