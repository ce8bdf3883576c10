"""Classify, Regress and MultiInference: tf.Example rows in, labels and values out."""

from typing import Any

import numpy as np

from processor.errors import FailedPrecondition, InvalidRequest
from processor.tensors import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD, Signature
from processor.wire import messages

_INPUTS, _CLASSES, _SCORES, _REGRESSIONS = "inputs", "classes", "scores", "outputs"


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
        raise InvalidRequest("Input is empty")
    array = np.empty(len(rows), np.object_)
    array[:] = rows
    return array


def check_signature(signatures: Any, name: str, method: str) -> Signature:
    """The signature that `name` means for Classify or Regress."""
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise InvalidRequest(f"No signature was found with the name: {name}")
    signature: Signature = signatures[name]
    what = "classification" if method == CLASSIFY_METHOD else "regression"
    if signature.method != method:
        raise InvalidRequest(f"Expected {what} signature method_name to be {method}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise InvalidRequest("Expected one input Tensor.")
    if _INPUTS not in signature.inputs:
        raise FailedPrecondition(f"No {what} inputs found in SignatureDef: {name}")
    if signature.inputs[_INPUTS].dtype != "DT_STRING":
        raise FailedPrecondition(f"input {_INPUTS} of signature {name} takes no serialized tf.Example")
    if method == CLASSIFY_METHOD and not set(signature.outputs) & {_CLASSES, _SCORES}:
        raise FailedPrecondition(
            f"Expected classification signature outputs to contain at least one of {_CLASSES} or {_SCORES}"
        )
    if method == REGRESS_METHOD and _REGRESSIONS not in signature.outputs:
        raise FailedPrecondition(f"No regression outputs found in SignatureDef: {name}")
    return signature


def classification_outputs(signature: Signature) -> list[str]:
    return [name for name in (_CLASSES, _SCORES) if name in signature.outputs]


def regression_outputs(signature: Signature) -> list[str]:
    return [_REGRESSIONS]


def fill_classifications(result: Any, arrays: dict[str, np.ndarray], rows: int) -> None:
    """Writes [rows, classes] labels and scores, of which one may be absent, into a ClassificationResult."""
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[0] != rows:
            raise InvalidRequest(f"Expected {name} of shape [{rows}, classes] but got {list(array.shape)}")
    labels, scores = arrays.get(_CLASSES), arrays.get(_SCORES)
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise InvalidRequest(f"classes and scores differ in shape: {list(labels.shape)} and {list(scores.shape)}")
    width = next(iter(arrays.values())).shape[1]
    for row in range(rows):
        classes = result.classifications.add().classes
        for column in range(width):
            item = classes.add()
            if labels is not None:
                item.label = labels[row, column].decode(errors="replace")
            if scores is not None:
                item.score = float(scores[row, column])


def fill_regressions(result: Any, arrays: dict[str, np.ndarray], rows: int) -> None:
    """Writes values of shape [rows] or [rows, 1] into a RegressionResult."""
    array = arrays[_REGRESSIONS]
    if array.shape not in ((rows,), (rows, 1)):
        raise InvalidRequest(f"Expected outputs of shape [{rows}] or [{rows}, 1] but got {list(array.shape)}")
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
