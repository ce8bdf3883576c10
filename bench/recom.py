"""`python -m bench.recom FOLDER NAME`: models E and F of RECom (Pan et al., ASPLOS 2023), from its published recipe.

        bucketized / int hash / string hash / multi-valued / large multi-valued columns   top MLP
E       880 / 50 / 50 / 15 / 5                                                            1024-1024-128
F       1000 / 90 / 100 / 7 / 3                                                           2048-1024-1024-512
tiny    6 / 2 / 2 / 1 / 1, to try the bench                                               16

Beside the columns 32 dense inputs through a bottom MLP of 32. Bucketized and int-hash columns have 100 rows,
string-hash and multi-valued ones 10,000 rows, of 8 floats; large ones 32 floats, and 2^20 rows for the recipe's
2^23, for the memory's sake. Multi-valued strings have 1 to 10 values with ";" between them, which are summed up.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

DENSE, BUCKETS = 32, 100
RECIPES = {
    "recom-e": ((880, 50, 50, 15, 5), (1024, 1024, 128)),
    "recom-f": ((1000, 90, 100, 7, 3), (2048, 1024, 1024, 512)),
    "recom-tiny": ((6, 2, 2, 1, 1), (16,)),
}
_KINDS = ("bucket", "int", "string", "multi", "large")


def _names(name: str) -> list[tuple[str, str]]:
    """(kind, input) of every column."""
    counts, _ = RECIPES[name]
    return [(kind, f"{kind}{number:04}") for kind, count in zip(_KINDS, counts, strict=True) for number in range(count)]


def inputs(name: str, rows: int) -> dict[str, np.ndarray]:
    source = np.random.default_rng(rows)
    found: dict[str, np.ndarray] = {"dense": source.random((rows, DENSE), np.float32)}
    for kind, column in _names(name):
        if kind == "bucket":
            found[column] = source.random((rows, 1), np.float32)
        elif kind == "int":
            found[column] = source.integers(1 << 40, size=(rows, 1))
        else:
            most = 2 if kind == "string" else 11
            values = np.empty(rows, np.object_)
            values[:] = [
                b";".join(b"%d" % value for value in source.integers(1 << 40, size=source.integers(1, most)))
                for _ in range(rows)
            ]
            found[column] = values
    return found


def write(folder: Path, name: str) -> None:
    import tensorflow as tf

    v1, column = tf.compat.v1, tf.feature_column
    _, layers = RECIPES[name]
    source = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as session:
        placeholders: dict[str, Any] = {"dense": v1.placeholder(tf.float32, [None, DENSE], "dense")}
        features: dict[str, Any] = {}
        columns = []
        for kind, feature in _names(name):
            if kind == "bucket":
                features[feature] = placeholders[feature] = v1.placeholder(tf.float32, [None, 1], feature)
                bounds = np.sort(source.random(BUCKETS - 1)).tolist()
                bucketized = column.bucketized_column(column.numeric_column(feature), bounds)
                columns.append(column.embedding_column(bucketized, 8))
            elif kind == "int":
                features[feature] = placeholders[feature] = v1.placeholder(tf.int64, [None, 1], feature)
                hashed = column.categorical_column_with_hash_bucket(feature, BUCKETS, tf.int64)
                columns.append(column.embedding_column(hashed, 8))
            else:
                placeholders[feature] = strings = v1.placeholder(tf.string, [None], feature)
                features[feature] = (
                    strings[:, None] if kind == "string" else v1.string_split(strings, ";", skip_empty=True)
                )
                rows, dimension = (1 << 20, 32) if kind == "large" else (10_000, 8)
                hashed = column.categorical_column_with_hash_bucket(feature, rows)
                columns.append(column.embedding_column(hashed, dimension, combiner="sum"))

        def dense(x: Any, units: int, scope: str) -> Any:
            size = int(x.shape[1])
            weights = source.standard_normal((size, units), np.float32) / np.float32(size**0.5)
            return tf.nn.relu(x @ v1.get_variable(scope, initializer=weights))

        x = tf.concat([v1.feature_column.input_layer(features, columns), dense(placeholders["dense"], 32, "bottom")], 1)
        for index, units in enumerate(layers):
            x = dense(x, units, f"top{index}")
        score = tf.squeeze(tf.sigmoid(x @ v1.get_variable("out", [layers[-1], 1])), 1)
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {name: info(tensor) for name, tensor in placeholders.items()},
            {"score": info(score)},
            "tensorflow/serving/predict",
        )
        builder = v1.saved_model.Builder(str(folder / name / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
