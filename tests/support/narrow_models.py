"""`python -m tests.support.narrow_models FOLDER`: ops on numbers beside a fused column, in a process of their own.

TYPE/1  a signature for each op that the type has: word [n] and x [n, 2] to row, of a table, and y
decay/1 plain time decay of int64 milliseconds; gaps/1, of float64 hours
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

TYPES = ("uint8", "int32", "int64", "float32", "float64")
TABLE = np.arange(120, dtype=np.float32).reshape(40, 3)

OPS: dict[str, Callable[[Any], Any]] = {
    "as_it_is": lambda x: tf.identity(x),
    "moved": lambda x: tf.transpose(x),
    "reversed": lambda x: tf.concat([x[:, 1:], x[:, :1]], 1),
    "apart": lambda x: x - x[:, :1],
    "doubled": lambda x: x + x[:, 1:],
    "product": lambda x: x * x[:, :1],
    "quotient": lambda x: x // tf.cast(7, x.dtype),
    "remainder": lambda x: x % tf.cast(7, x.dtype),
    "truncated": lambda x: tf.truncatemod(x, tf.cast(7, x.dtype)),
    "absolute": lambda x: tf.abs(x),
    "largest": lambda x: tf.reduce_max(x, 1),
    "total": lambda x: tf.reduce_sum(x, 1),
    "running": lambda x: tf.cumsum(x, 1),
    "best": lambda x: tf.argmax(x, 1),
    "equal": lambda x: tf.equal(x[:, :1], x[:, 1:]),
    "before": lambda x: tf.cast(x[:, :1] < x, tf.float32),
    "where": lambda x: tf.where(x > x[:, :1], x, x[:, 1:]),
    "floats": lambda x: tf.cast(x, tf.float32) * 0.5,
    "floats_apart": lambda x: tf.cast(x - x[:, :1], tf.float32),
    "to_int64": lambda x: tf.cast(x, tf.int64),
    "to_int32": lambda x: tf.cast(x, tf.int32),
    "to_int8": lambda x: tf.cast(x, tf.int8),
    "to_bool": lambda x: tf.cast(x, tf.bool),
    "to_double": lambda x: tf.cast(x, tf.float64),
    "one_hot": lambda x: tf.one_hot(tf.cast(x, tf.int64), 4),
    "rows": lambda x: tf.gather(tf.constant(TABLE), x[:, 0] + x[:, 1]),
    "rows_modulo": lambda x: tf.gather(tf.constant(TABLE), tf.abs(x) % tf.cast(40, x.dtype)),
    "rows_of_floats": lambda x: tf.gather(tf.constant(TABLE), tf.cast(tf.cast(x[:, 0], tf.float32), tf.int64)),
    "places": lambda x: tf.gather_nd(tf.constant(TABLE), x),
}
# Ops that go on to be something else, on integers alone.
_INDICES = ("one_hot", "rows", "rows_of_floats", "rows_modulo", "places")


class Beside(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(TABLE)

    def column(self, word: tf.Tensor) -> tf.Tensor:
        return 2.0 * tf.gather(self.table, tf.strings.to_hash_bucket_fast(word, 40))


def _signature(module: Beside, dtype: str, op: Callable[[Any], Any]) -> Any:
    specs = [tf.TensorSpec([None], tf.string, "word"), tf.TensorSpec([None, 2], dtype, "x")]
    serve = tf.function(lambda word, x: {"row": module.column(word), "y": op(x)}, input_signature=specs)
    return serve.get_concrete_function()


def write_types(folder: Path) -> None:
    for dtype in TYPES:
        module, signatures = Beside(), {}
        for name, op in OPS.items():
            if name in _INDICES and dtype not in ("int32", "int64"):
                continue
            try:
                signatures[name] = _signature(module, dtype, op)
            except (TypeError, ValueError):
                continue  # TensorFlow has no such op of that type
        tf.saved_model.save(module, str(folder / dtype / "1"), signatures)


def write_times(folder: Path) -> None:
    module = Beside()
    specs = {
        "decay": [tf.TensorSpec([None], tf.int64, "now"), tf.TensorSpec([None, 3], tf.int64, "times")],
        "gaps": [tf.TensorSpec([None], tf.float64, "now"), tf.TensorSpec([None, 3], tf.float64, "times")],
    }
    word = tf.TensorSpec([None], tf.string, "word")

    def decay(word: tf.Tensor, now: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        hours = tf.cast(now[:, None] - times, tf.float32) / 3.6e6
        return {"row": module.column(word), "y": tf.exp(-hours / 24)}

    def gaps(word: tf.Tensor, now: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"row": module.column(word), "y": tf.cast((now[:, None] - times) / 3600, tf.float32)}

    for name, body in (("decay", decay), ("gaps", gaps)):
        serve = tf.function(body, input_signature=[word, *specs[name]])
        tf.saved_model.save(module, str(folder / name / "1"), {"serving_default": serve.get_concrete_function()})


if __name__ == "__main__":
    write_types(Path(sys.argv[1]))
    write_times(Path(sys.argv[1]))
