"""Tensors from JSON: the signature says the type, and nothing is guessed from the values."""

from typing import Any

import numpy as np
import pytest

from corelane.processor.errors import InvalidRequest, NotSupported
from corelane.processor.gateway.protocols import json_examples, json_outputs, json_tensors, json_text
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import NUMPY_TYPES

INTEGERS = [name for name, dtype in NUMPY_TYPES.items() if dtype.kind in "iu"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_numbers_are_exact_to_the_ends_of_their_range(dtype: str) -> None:
    limits = np.iinfo(NUMPY_TYPES[dtype])
    values = [limits.min, limits.max, 0, 1, limits.max - 1, limits.min + 1]
    for value in (values, [values, values], limits.max, [limits.max, 0], [0, limits.max]):
        document = json_text.parse(b'{"x": %s, "y": NaN}' % json_text.write(value))
        array = json_tensors.to_array(document["x"], dtype)
        assert array.dtype == NUMPY_TYPES[dtype]
        assert array.tolist() == value
        assert json_text.write(json_outputs.outputs_as_columns({"x": array})) == json_text.write(value)
        if array.ndim:
            assert json_text.write(json_outputs.outputs_as_rows({"x": array})) == json_text.write(value)
    for value in (limits.min - 1, limits.max + 1, 1.0, True, "1", None, {}):
        with pytest.raises(InvalidRequest, match="is not of expected type"):
            json_tensors.to_array([0, value], dtype)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 0.5, -2], "DT_FLOAT", [1.0, 0.5, -2.0]),
        ([1435774380, 1435774380.0], "DT_FLOAT", [np.float32(1435774380)] * 2),
        ([2**53 + 1, 2**64 - 1, 0.5], "DT_DOUBLE", [2.0**53, 2.0**64, 0.5]),
        ([1e39, -1e39, 1e-60], "DT_FLOAT", [np.inf, -np.inf, 0.0]),
        ([float("nan"), float("inf")], "DT_DOUBLE", [np.nan, np.inf]),
        ([0.5, 1, float("inf")], "DT_HALF", [0.5, 1.0, np.inf]),
        ([0.5, -2], "DT_BFLOAT16", [0.5, -2.0]),
        ([[], []], "DT_FLOAT", np.zeros((2, 0))),
        (2, "DT_FLOAT", 2.0),
        ([True, False], "DT_BOOL", [True, False]),
    ],
)
def test_numbers(value: Any, dtype: str, expected: Any) -> None:
    array = json_tensors.to_array(value, dtype)
    assert array.dtype == NUMPY_TYPES[dtype]
    np.testing.assert_array_equal(array.astype(np.float64), np.array(expected, np.float64))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1, True], "DT_FLOAT", "JSON Value: true Type: True is not of expected type: float"),
        ([1, None], "DT_FLOAT", "JSON Value: null Type: Null is not of expected type: float"),
        ([1, "a"], "DT_INT32", 'JSON Value: "a" Type: String is not of expected type: int32'),
        ([1, {"b64": "YQ=="}], "DT_INT32", "Type: Object is not of expected type: int32"),
        ([1], "DT_BOOL", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([1], "DT_STRING", "JSON Value: 1 Type: Number is not of expected type: string"),
        ([1, 70000], "DT_HALF", "JSON Value: 70000 is out of the range of half"),
        ([1e39], "DT_BFLOAT16", "is out of the range of bfloat16"),
        ([[1], 2], "DT_FLOAT", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1, [2]], "DT_FLOAT", "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], [2, 3]], "DT_INT8", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([["a"], []], "DT_STRING", "Encountered list at unexpected size: 0 at level: 1 expected size: 1"),
        ([{"b64": "a", "c": 1}], "DT_STRING", "not formatted correctly for base64 data"),
        ([{"b64": "!"}], "DT_STRING", "Unable to base64 decode"),
    ],
)
def test_values_that_do_not_fit(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        json_tensors.to_array(value, dtype)
    assert message in str(raised.value)


def test_nesting_is_bounded() -> None:
    value: Any = 1
    for _ in range(1000):
        value = [value]
    with pytest.raises(InvalidRequest, match="lists nest deeper than 64"):
        json_tensors.to_array(value, "DT_INT8")
    with pytest.raises(InvalidRequest, match="lists nest deeper than 64"):
        json_tensors.to_array(value, "DT_STRING")
    with pytest.raises(NotSupported):
        json_tensors.to_array([1], "DT_COMPLEX64")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        # TensorFlow Serving's own cases.
        (
            {"instances": [[1, 2], [3, 4], [5, 6, 7]]},
            "process element: 2 of 'instances' list. Error: Expecting tensor size",
        ),
        ({"instances": [[1, 2], [3, 4], [[5, 6]]]}, "process element: 2 of 'instances' list. Error: Expecting shape"),
        ({"instances": [1, [1]]}, "process element: 1 of 'instances' list. Error: Expecting shape [] but got: [1]"),
        ({"instances": [[1, 2], ["a", "b"]]}, "process element: 1 of 'instances' list. Error: JSON Value"),
        (
            {"instances": [{"x": 1}, {"x": [1]}]},
            "process element: 1 key: x of 'instances' list. Error: Expecting shape",
        ),
        ({"instances": 5}, "Expecting 'instances' to be an list/array"),
        ({"inputs": {"y": 1}}, "Missing named input: x in 'inputs' object."),
    ],
)
def test_requests_that_do_not_fit(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        json_tensors.inputs_of(document, {"x": "DT_INT32"}, ())
    assert message in str(raised.value)


def test_names_beside_all_inputs_are_ignored_and_a_misspelled_option_is_not() -> None:
    dtypes = {"x": "DT_INT32", "threshold": "DT_FLOAT"}
    _, arrays = json_tensors.inputs_of({"inputs": {"x": [1], "threshold": 2, "other": "a"}}, dtypes, ["threshold"])
    assert sorted(arrays) == ["threshold", "x"]
    _, arrays = json_tensors.inputs_of({"inputs": {"x": [1]}}, dtypes, ["threshold"])
    assert sorted(arrays) == ["x"]
    with pytest.raises(InvalidRequest, match="'treshold' in 'inputs' is no input"):
        json_tensors.inputs_of({"inputs": {"x": [1], "treshold": 2}}, dtypes, ["threshold"])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 1), "b": (3,)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"a": ()}, "Tensor name: a has no shape information"),
        ({"a": (2,), "b": ()}, "Tensor name: b has no shape information"),
    ],
)
def test_outputs_that_are_no_rows(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        json_outputs.outputs_as_rows({name: np.zeros(shape) for name, shape in shapes.items()})
    with pytest.raises(InvalidRequest, match="for tensor type: complex64"):
        json_outputs.outputs_as_rows({"a": np.zeros(1, np.complex64)})


def test_rows_of_no_rows() -> None:
    assert json_outputs.outputs_as_rows({"a": np.zeros((0, 2)), "b": np.zeros(0)}) == []


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([2**53 + 1, -(2**63), 2**63 - 1], "int64_list", [2**53 + 1, -(2**63), 2**63 - 1]),
        ([True, 2], "int64_list", [1, 2]),
        ([0.1, 1e39, -1e300, float("nan")], "float_list", [float(np.float32(0.1)), np.inf, -np.inf, np.nan]),
        (["a", {"b64": "YQ=="}], "bytes_list", [b"a", b"a"]),
    ],
)
def test_features(values: list[Any], kind: str, expected: list[Any]) -> None:
    request = messages.ClassificationRequest()
    json_examples.fill_input({"examples": [{"f": values}]}, request.input)
    feature = request.input.example_list.examples[0].features.feature["f"]
    np.testing.assert_array_equal(list(getattr(feature, kind).value), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2**63], "has uint64_t element. Only int64_t is supported."),
        ([1, 1.0], "feature: f expecting type: int64"),
        ([1, None], "f has element with unexpected JSON type: Null"),
        ([[1]], "f has element with unexpected JSON type: Array"),
        ([{"a": 1}], "f has element with unexpected JSON type: Object"),
    ],
)
def test_features_that_do_not_fit(values: list[Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        json_examples.fill_input({"examples": [{"f": values}]}, messages.ClassificationRequest().input)
