"""`python -m tests.support.keras_ids FOLDER`: an Embedding of Keras over ids with an offset for each column, as
OpenVINO converts it, in a process of its own.

1/ model.xml: ids int64 [rows, 3] to rows of TABLE [rows, 3, 3]
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
import tensorflow as tf

OFFSETS = [0, 5, 9]
TABLE = np.arange(36, dtype=np.float32).reshape(12, 3)


def write(folder: Path) -> None:
    table = keras.layers.Embedding(*TABLE.shape, weights=[TABLE])
    table.build()

    @tf.function(input_signature=[tf.TensorSpec([None, len(OFFSETS)], tf.int64, "ids")])
    def serve(ids: Any) -> Any:
        return tf.identity(table(ids + OFFSETS), "rows")

    converted = openvino.convert_model(serve)
    converted.inputs[0].get_tensor().set_names({"ids"})
    folder.mkdir()
    openvino.save_model(converted, str(folder / "model.xml"), compress_to_fp16=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "1")
