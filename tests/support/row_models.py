"""`python -m tests.support.row_models FOLDER`: SavedModels whose answers hang on how many rows or elements there are.

Each is NAME/1 with `item` int64 [rows], `user` int64 [rows] and `x` float32 [rows, width], and becomes a fused plan.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Outputs = dict[str, Any]


def _crossed(users: Any, items: Any, _: Any) -> Outputs:
    """One row of either side stands beside any number of the other's."""
    return {"score": tf.reduce_sum(users * items, 1), "sum": users + items}


def _best(users: Any, items: Any, _: Any) -> Outputs:
    scores = tf.reduce_sum(items + users, 1)
    return {"best": tf.math.top_k(scores, 1)[0], "scores": scores}


def _first(users: Any, items: Any, _: Any) -> Outputs:
    return {"place": tf.argmax(items + users, 0), "total": tf.reduce_sum(items, 0)}


def _centred(users: Any, items: Any, _: Any) -> Outputs:
    return {"mean": tf.reduce_mean(items + users, 0), "most": tf.reduce_max(items, 0)}


def _widest(users: Any, items: Any, x: Any) -> Outputs:
    return {"most": tf.reduce_max(x, 1), "mean": tf.reduce_mean(x, 1), "y": items + users}


def _kept(users: Any, items: Any, _: Any) -> Outputs:
    """What is left may be nothing."""
    scores = tf.reduce_sum(items + users, 1)
    return {"best": tf.math.top_k(tf.boolean_mask(scores, scores > 0), 1)[0], "scores": scores}


MODELS: dict[str, Callable[[Any, Any, Any], Outputs]] = {
    "crossed": _crossed,
    "best": _best,
    "first": _first,
    "centred": _centred,
    "widest": _widest,
    "kept": _kept,
}


class _Module(tf.Module):
    def __init__(self, model: Callable[[Any, Any, Any], Outputs]) -> None:
        super().__init__()
        source = np.random.default_rng(1)
        self.users = tf.Variable(source.normal(size=(50, 4)).astype(np.float32))
        self.items = tf.Variable(source.normal(size=(40, 4)).astype(np.float32))
        self._model = model

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "user"),
            tf.TensorSpec([None], tf.int64, "item"),
            tf.TensorSpec([None, None], tf.float32, "x"),
        ]
    )
    def serve(self, user: Any, item: Any, x: Any) -> Outputs:
        return self._model(tf.gather(self.users, user), tf.gather(self.items, item), x)


def main(folder: Path) -> None:
    for name, model in MODELS.items():
        module = _Module(model)
        tf.saved_model.save(module, str(folder / name / "1"), signatures=module.serve)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
