"""`python -m tests.support.tensorflow_models FOLDER`: SavedModels of each kind, in a process of their own.

tf2/1   TF2 function: strings through a lookup table, a variable, two signatures, a scalar input with no batch
tf1/1   TF1 graph: Predict, Classify and Regress signatures over tf.Example, variables and a hash table
types/1 every element type that the wire has, each returned as it came; plain: all but complex numbers
files/1 reads any file, and writes any
picky/1 refuses negative numbers, in the graph
branches/1 a branch and a loop on what the input is
talker/1 writes as many kilobytes as it is told to standard error, without the end of a line
keeper/1 keeps the input of each call in a variable, and returns that of the call before
table/1  puts each word into a mutable table, and returns all that were put there before
tower/1  embedded words and numbers through dense layers, in functions that call functions
keras/1  dense layers, exported by Keras
ref/1    dense layers over TF1's variables by reference
"""

import sys
from pathlib import Path

import tensorflow as tf

v1 = tf.compat.v1

WIRE_TYPES = {
    "float": tf.float32,
    "double": tf.float64,
    "half": tf.float16,
    "bfloat16": tf.bfloat16,
    "int8": tf.int8,
    "int16": tf.int16,
    "int32": tf.int32,
    "int64": tf.int64,
    "uint8": tf.uint8,
    "uint16": tf.uint16,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "bool": tf.bool,
    "complex64": tf.complex64,
    "complex128": tf.complex128,
    "string": tf.string,
}
# Those that the Open Inference Protocol has names for.
PLAIN_TYPES = {name: dtype for name, dtype in WIRE_TYPES.items() if not dtype.is_complex}


class Lookup(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(3.0)
        words = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(words, -1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word"), tf.TensorSpec([None, 2], tf.float32, "x")])
    def score(self, word: tf.Tensor, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.table.lookup(word) + self.factor * tf.reduce_sum(x, 1), "upper": tf.strings.upper(word)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.factor * x}


class Types(tf.Module):
    @tf.function(input_signature=[{name: tf.TensorSpec(None, dtype, name) for name, dtype in WIRE_TYPES.items()}])
    def same(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {f"{name}_out": tf.identity(tensor) for name, tensor in inputs.items()}

    @tf.function(input_signature=[{name: tf.TensorSpec(None, dtype, name) for name, dtype in PLAIN_TYPES.items()}])
    def plain(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {f"{name}_out": tf.identity(tensor) for name, tensor in inputs.items()}


class Talker(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "kilobytes")])
    def talk(self, kilobytes: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.print(tf.strings.reduce_join(tf.fill([kilobytes], "x" * 1000)), end="", output_stream=sys.stderr)
        return {"kilobytes": tf.identity(kilobytes)}


class Files(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path")])
    def read(self, path: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"content": tf.io.read_file(path)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path"), tf.TensorSpec([], tf.string, "content")])
    def write(self, path: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file(path, content)
        return {"path": tf.identity(path)}


class Picky(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def same(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "negative numbers")]):
            return {"y": tf.identity(x)}


class Branches(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def walk(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        total = tf.reduce_sum(x)
        shifted = tf.cond(total > 0, lambda: x + 1, lambda: x - 1)
        _, doubled = tf.while_loop(lambda n, _: n < 3, lambda n, y: (n + 1, y * 2), (0, shifted))
        return {"y": doubled}


class Keeper(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = tf.Variable([0.0], shape=[None])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def swap(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        before = tf.identity(self.last)
        with tf.control_dependencies([before]), tf.control_dependencies([self.last.assign(x)]):
            return {"before": tf.identity(before)}


class Table(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def put(self, word: tf.Tensor) -> dict[str, tf.Tensor]:
        before, _ = self.words.export()
        with (
            tf.control_dependencies([before]),
            tf.control_dependencies([self.words.insert(word, tf.zeros_like(word, tf.int64))]),
        ):
            return {"before": tf.identity(before)}


class Tower(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        random = tf.random.Generator.from_seed(1)
        self.words = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["v1", "v2", "v3"], tf.constant([1, 2, 3], tf.int64)), 0
        )
        self.embeddings = tf.Variable(random.normal([4, 8]))
        self.layers = [tf.Variable(random.normal([size, 16]) * size**-0.5) for size in (16, 16)]
        self.last = tf.Variable(random.normal([16, 1]) * 0.25)

    @tf.function
    def layer(self, x: tf.Tensor, weights: tf.Variable) -> tf.Tensor:
        return tf.nn.relu(x @ weights)

    @tf.function
    def features(self, word: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.size(word), tf.concat([tf.gather(self.embeddings, self.words.lookup(word)), x], 1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word"), tf.TensorSpec([None, 8], tf.float32, "x")])
    def score(self, word: tf.Tensor, x: tf.Tensor) -> dict[str, tf.Tensor]:
        rows, hidden = self.features(word, x)
        with tf.control_dependencies([tf.debugging.assert_equal(rows, tf.shape(x)[0])]):
            for weights in self.layers:
                hidden = self.layer(hidden, weights)
        return {"score": tf.squeeze(hidden @ self.last, 1), "rows": tf.reshape(rows, [1]), "x": x}


def write_keras(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    x = keras.Input((8,), name="x")
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(16, activation="relu")(x))
    model = keras.Model(x, {"score": keras.layers.Dense(1)(hidden)})
    model.export(str(folder), verbose=False)


def write_ref(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 8], "x")
        weights = v1.get_variable("weights", [8, 16], use_resource=False)
        last = v1.get_variable("last", [16, 1], use_resource=False)
        score = tf.matmul(tf.nn.relu(tf.matmul(x, weights)), last)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"score": score})


def write_tf1(folder: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "examples")
        features = {"x": tf.io.FixedLenFeature([], tf.float32), "word": tf.io.FixedLenFeature([], tf.string, "")}
        parsed = tf.io.parse_example(examples, features)
        words = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        bonus = tf.lookup.StaticHashTable(words, 0.0).lookup(parsed["word"])
        weight = v1.get_variable("weight", initializer=2.0)
        value = weight * parsed["x"] + bonus
        classes = tf.tile(tf.constant([["low", "high"]]), [tf.size(examples), 1])
        scores = tf.stack([-value, value], 1)
        x = v1.placeholder(tf.float32, [None], "x")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        info, build = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        inputs = {"inputs": info(examples)}
        signatures = {
            "serving_default": build({"x": info(x)}, {"y": info(weight * x)}, "tensorflow/serving/predict"),
            "classify": build(
                inputs, {"classes": info(classes), "scores": info(scores)}, "tensorflow/serving/classify"
            ),
            "regress": build(inputs, {"outputs": info(value)}, "tensorflow/serving/regress"),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map=signatures, main_op=v1.tables_initializer()
        )
        builder.save()


def main(folder: Path) -> None:
    lookup = Lookup()
    tf.saved_model.save(
        lookup,
        str(folder / "tf2/1"),
        signatures={
            "serving_default": lookup.score.get_concrete_function(),
            "scalar": lookup.scalar.get_concrete_function(),
        },
    )
    types = Types()
    both = {"serving_default": types.same.get_concrete_function(), "plain": types.plain.get_concrete_function()}
    tf.saved_model.save(types, str(folder / "types/1"), signatures=both)
    write_tf1(folder / "tf1/1")
    write_keras(folder / "keras/1")
    write_ref(folder / "ref/1")
    files = Files()
    both = {"serving_default": files.read.get_concrete_function(), "write": files.write.get_concrete_function()}
    tf.saved_model.save(files, str(folder / "files/1"), signatures=both)
    talker, picky, keeper, branches, tower, table = Talker(), Picky(), Keeper(), Branches(), Tower(), Table()
    tf.saved_model.save(table, str(folder / "table/1"), signatures=table.put.get_concrete_function())
    tf.saved_model.save(tower, str(folder / "tower/1"), signatures=tower.score.get_concrete_function())
    tf.saved_model.save(branches, str(folder / "branches/1"), signatures=branches.walk.get_concrete_function())
    tf.saved_model.save(picky, str(folder / "picky/1"), signatures=picky.same.get_concrete_function())
    tf.saved_model.save(talker, str(folder / "talker/1"), signatures=talker.talk.get_concrete_function())
    tf.saved_model.save(keeper, str(folder / "keeper/1"), signatures=keeper.swap.get_concrete_function())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
