"""Classify, Regress and MultiInference: tf.Example rows in, labels and values out.

Messages are TensorFlow Serving's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import CLASSIFY_METHOD, Signature, wire_type

INPUTS, _CLASSES, _SCORES, _REGRESSIONS = "inputs", "classes", "scores", "outputs"


def serialized_examples(message: Any) -> np.ndarray:
    """The rows of an Input, each a serialized tf.Example: DT_STRING of shape [rows]."""
    kind = message.WhichOneof("kind")
    if kind == "example_list_with_context":
        rows = []
        for example in message.example_list_with_context.examples:
            merged = messages.Example()
            merged.CopyFrom(message.example_list_with_context.context)
            for name, feature in example.features.feature.items():
                merged.features.feature[name].CopyFrom(feature)
            rows.append(merged.SerializeToString())
    elif kind == "example_list":
        rows = [example.SerializeToString() for example in message.example_list.examples]
    else:
        rows = []
    if not rows:
        raise InvalidRequest("Input is empty.")
    array = np.empty(len(rows), np.object_)
    array[:] = rows
    return array


def check_signature(signature: Signature, method: str, *, checks_method: bool) -> None:
    """InvalidRequest unless a signature can answer Classify or Regress. TF2 exports say Predict of every signature, so
    that what its method is counts only if `checks_method`."""
    is_classify = method == CLASSIFY_METHOD
    kind = "classification" if is_classify else "regression"
    if checks_method and signature.method != method:
        raise InvalidRequest(f"Expected {kind} signature method_name to be {method}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise InvalidRequest("Expected one input Tensor.")
    if is_classify and len(signature.outputs) not in (1, 2):
        raise InvalidRequest(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not is_classify and len(signature.outputs) != 1:
        raise InvalidRequest("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise InvalidRequest(f"No {kind} inputs found in SignatureDef: {signature.name}")
    if is_classify and not set(signature.outputs) & {_CLASSES, _SCORES}:
        raise InvalidRequest(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature.name}"
        )
    if not is_classify and _REGRESSIONS not in signature.outputs:
        raise InvalidRequest(f"No regression outputs found in SignatureDef: {signature.name}")


def outputs_of(signature: Signature, method: str) -> list[str]:
    """What Classify or Regress fetches of a signature."""
    names = (_CLASSES, _SCORES) if method == CLASSIFY_METHOD else (_REGRESSIONS,)
    return [name for name in names if name in signature.outputs]


def fill_classifications(result: Any, arrays: Mapping[str, np.ndarray], rows: int) -> None:
    """Writes [rows, classes] labels and scores, of which one may be absent, into a ClassificationResult.
    InvalidRequest for others."""
    for name, dtype in ((_CLASSES, "DT_STRING"), (_SCORES, "DT_FLOAT")):
        if name not in arrays:
            continue
        array = arrays[name]
        if array.ndim != 2:
            raise InvalidRequest(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if wire_type(array) != dtype:
            raise InvalidRequest(f"Expected {name} Tensor of {dtype}. Got: {wire_type(array)}")
        if array.shape[0] != rows:
            raise InvalidRequest(f"Expected {name} output batch size of {rows}. Got: {array.shape[0]}")
    labels, scores = arrays.get(_CLASSES), arrays.get(_SCORES)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise InvalidRequest(
            f"Tensors class and score should match in dim_size(1). Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(iter(arrays.values())).shape[1]
    for row in range(rows):
        classes = result.classifications.add().classes
        for column in range(width):
            item = classes.add()
            if labels is not None:
                item.label = labels[row, column].decode(errors="replace")
            if scores is not None:
                item.score = float(scores[row, column])


def fill_regressions(result: Any, arrays: Mapping[str, np.ndarray], rows: int) -> None:
    """Writes values of shape [rows] or [rows, 1] into a RegressionResult. InvalidRequest for others."""
    array = arrays[_REGRESSIONS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise InvalidRequest(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != rows:
        raise InvalidRequest(f"Input batch size did not match output batch size: {rows} vs. {array.shape[0]}")
    if wire_type(array) != "DT_FLOAT":
        raise InvalidRequest(f"Expected output Tensor of DT_FLOAT.  Got: {wire_type(array)}")
    for value in array.ravel().tolist():
        result.regressions.add(value=value)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
