"""`python -m tests.support.signature_models FOLDER`: SavedModels of which not every signature can be served.

mixed/1    serving_default: y = factor * (embedding of word + x), where factor may be left out and is 2 then; embedded:
           y = embedding of word + x; ragged, sparse: outputs that no TensorProto carries
default/1  plain: as serving_default above, which has a ragged output here
"""

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1


def write(folder: Path, dense: str, unserved: dict[str, str]) -> None:
    """`dense` is the signature that can be served; `unserved` are the others, with their kind."""
    with tf.Graph().as_default(), v1.Session() as session:
        word = v1.placeholder(tf.string, [None], "word")
        x = v1.placeholder(tf.float32, [None], "x")
        factor = v1.placeholder(tf.float32, [], "factor")
        table = v1.get_variable("table", initializer=tf.range(10.0)[:, tf.newaxis])
        rows = tf.gather(table, tf.strings.to_hash_bucket_fast(word, 10))
        sums = tf.squeeze(tf.concat([rows, x[:, tf.newaxis]], 1) @ tf.ones([2, 1]), 1)
        ragged = tf.RaggedTensor.from_row_lengths(x, tf.ones_like(x, tf.int64))
        others = {"ragged": ragged, "sparse": ragged.to_sparse()}
        session.run(v1.global_variables_initializer())
        info, build = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        method = "tensorflow/serving/predict"
        inputs = {"word": info(word), "x": info(x), "factor": info(factor)}
        signatures = {
            dense: build(inputs, {"y": info(factor * sums)}, method),
            "embedded": build({"word": info(word), "x": info(x)}, {"y": info(sums)}, method),
        }
        for name, kind in unserved.items():
            signatures[name] = build({"x": info(x)}, {"tags": info(others[kind])}, method)
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    file = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    definition = model.meta_graphs[0].signature_def[dense]
    definition.defaults["factor"].CopyFrom(tf.make_tensor_proto(2.0))
    file.write_bytes(model.SerializeToString())


def main(folder: Path) -> None:
    write(folder / "mixed/1", "serving_default", {"ragged": "ragged", "sparse": "sparse"})
    write(folder / "default/1", "plain", {"serving_default": "ragged"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
