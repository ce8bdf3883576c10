"""Rows of Classify and Regress as TensorFlow Serving's REST API has them in JSON: objects of features."""

from typing import Any

import numpy as np

from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.protocols.json_tensors import from_b64, is_b64, json_type
from corelane.processor.gateway.protocols.json_text import shown

_CONTEXT, _EXAMPLES = "context", "examples"
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
_INT64_MAX = 2**63 - 1


def fill_input(document: dict[str, Any], target: Any) -> None:
    """Writes the examples of a request, with their context, into a tensorflow.serving.Input."""
    with_context = _CONTEXT in document
    if _EXAMPLES not in document:
        raise InvalidRequest(
            f"JSON Value: {shown(document)} When method is classify, key '{_EXAMPLES}' is expected and was not found"
        )
    examples = document[_EXAMPLES]
    if not isinstance(examples, list):
        raise InvalidRequest(f"JSON Value: {shown(document)} Expecting '{_EXAMPLES}' value to be an list/array")
    if not examples:
        raise InvalidRequest(f"JSON Value: {shown(document)} '{_EXAMPLES}' value is an empty array")
    rows = target.example_list_with_context if with_context else target.example_list
    if with_context:
        _fill(document[_CONTEXT], rows.context)
    for example in examples:
        _fill(example, rows.examples.add())


def classifications(result: Any) -> list[list[list[Any]]]:
    """[[label, score], ...] for each row."""
    return [[[item.label, np.float32(item.score)] for item in row.classes] for row in result.classifications]


def regressions(result: Any) -> list[np.float32]:
    return [np.float32(row.value) for row in result.regressions]


def _fill(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(name, item, feature)


def _add(name: str, value: Any, feature: Any) -> None:
    plain: int | float | bytes
    if isinstance(value, bool):
        kind, plain = "int64_list", int(value)
    elif isinstance(value, int):
        kind, plain = "int64_list", value
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise InvalidRequest(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    elif isinstance(value, float):
        # The nearest float, an infinity for what is too large: protobuf itself refuses some of these.
        with np.errstate(over="ignore"):
            kind, plain = "float_list", float(np.float32(value))
    elif isinstance(value, str):
        kind, plain = "bytes_list", value.encode()
    elif is_b64(value):
        kind, plain = "bytes_list", from_b64(value)
    else:
        raise InvalidRequest(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    own = feature.WhichOneof("kind")
    if own not in (None, kind):
        raise InvalidRequest(f"Unexpected element type in feature: {name} expecting type: {_KINDS[own]}")
    getattr(feature, kind).value.append(plain)
