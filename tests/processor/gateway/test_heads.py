"""Classify, Regress and MultiInference: by which signatures, of which types, and TensorFlow Serving's words if not."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine, EngineOptions, load_engine
from corelane.processor.errors import InvalidRequest, NotSupported, RequestError
from corelane.processor.serving.inference import Inference
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from tests.support.http import ask
from tests.support.server import WITH_REST, serving

VALUES = [1.5, -2.0]  # of x; the model doubles them


@pytest.fixture(scope="module")
def engine(serving_models: Path) -> Iterator[Engine]:
    engine = load_engine("tensorflow", serving_models / "heads/1", EngineOptions())
    yield engine
    engine.unload()


def fill(message: Any, values: list[float]) -> None:
    for value in values:
        example = message.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)


def call(engine: Engine, method: Method, signature: str, *, checks_method: bool = False) -> Any:
    calls = Inference(engine=engine, model="m", version=1, message_bytes_max=1 << 20, checks_method=checks_method)
    is_classify = method is Method.CLASSIFY
    request = messages.ClassificationRequest() if is_classify else messages.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    fill(request.input, VALUES)
    answer = messages.ClassificationResponse if is_classify else messages.RegressionResponse
    return answer.FromString(calls.handle(engine.make_session(), method, request.SerializeToString())).result


@pytest.mark.parametrize(
    ("signature", "labels", "has_scores"),
    [
        ("classify", ["low", "high"], True),
        ("classes", ["low", "high"], False),
        ("scores", ["", ""], True),
        ("declared_classify", ["low", "high"], True),
    ],
)
def test_classify_by_signatures_of_any_method(
    engine: Engine, signature: str, labels: list[str], has_scores: bool
) -> None:
    assert engine.signatures()[signature].method == (CLASSIFY_METHOD if "declared" in signature else PREDICT_METHOD)
    result = call(engine, Method.CLASSIFY, signature)
    assert [[item.label for item in row.classes] for row in result.classifications] == [labels, labels]
    scores = [[item.score for item in row.classes] for row in result.classifications]
    assert scores == ([[-3.0, 3.0], [4.0, -4.0]] if has_scores else [[0.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("signature", ["regress", "regress_column", "declared_regress"])
def test_regress_by_signatures_of_any_method(engine: Engine, signature: str) -> None:
    result = call(engine, Method.REGRESS, signature)
    assert [item.value for item in result.regressions] == [3.0, -4.0]


@pytest.mark.parametrize(
    ("method", "signature", "message"),
    [
        (Method.CLASSIFY, "classes_int64", "Expected classes Tensor of DT_STRING. Got: DT_INT64"),
        (Method.CLASSIFY, "scores_double", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        (Method.CLASSIFY, "scores_string", "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
        (Method.CLASSIFY, "scores_vector", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (Method.CLASSIFY, "scores_one_row", "Expected scores output batch size of 2. Got: 1"),
        (Method.CLASSIFY, "classes_one_row", "Expected classes output batch size of 2. Got: 1"),
        (Method.CLASSIFY, "widths", "Tensors class and score should match in dim_size(1). Got 2 vs. 4"),
        (Method.CLASSIFY, "many_outputs", "Expected one or two output Tensors, found 3"),
        (Method.CLASSIFY, "two_inputs", "Expected one input Tensor."),
        (Method.CLASSIFY, "other_input", "No classification inputs found in SignatureDef: other_input"),
        (
            Method.CLASSIFY,
            "no_head",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: no_head",
        ),
        (Method.CLASSIFY, "nonesuch", "No signature was found with the name: nonesuch"),
        (Method.REGRESS, "values_string", "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"),
        (Method.REGRESS, "values_int64", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        (
            Method.REGRESS,
            "values_wide",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (
            Method.REGRESS,
            "values_scalar",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
        ),
        (Method.REGRESS, "values_one_row", "Input batch size did not match output batch size: 2 vs. 1"),
        (Method.REGRESS, "two_inputs", "Expected one input Tensor."),
        (Method.REGRESS, "other_input", "Expected one output Tensor."),
        (Method.REGRESS, "other_input_only", "No regression inputs found in SignatureDef: other_input_only"),
        (Method.REGRESS, "no_head", "No regression outputs found in SignatureDef: no_head"),
        (Method.REGRESS, "classify", "Expected one output Tensor."),
        (Method.REGRESS, "float_input", 'Expects arg[0] to be float but string is provided (input "inputs")'),
        (Method.REGRESS, "nonesuch", "No signature was found with the name: nonesuch"),
    ],
)
def test_what_is_no_head_says_so(engine: Engine, method: Method, signature: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(engine, method, signature)
    assert str(caught.value) == message


def test_methods_are_checked_where_that_is_asked_for(engine: Engine) -> None:
    kinds = ((Method.CLASSIFY, "classify", "classification"), (Method.REGRESS, "regress", "regression"))
    for method, signature, kind in kinds:
        call(engine, method, f"declared_{signature}", checks_method=True)
        with pytest.raises(InvalidRequest) as caught:
            call(engine, method, signature, checks_method=True)
        expected = f"Expected {kind} signature method_name to be tensorflow/serving/{signature}. Was: {PREDICT_METHOD}"
        assert str(caught.value) == expected


def multi(engine: Engine, *tasks: tuple[str, str, str], checks_method: bool = False) -> Any:
    """(model, signature, method) of each."""
    request = messages.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    fill(request.input, VALUES)
    calls = Inference(engine=engine, model="m", version=1, message_bytes_max=1 << 20, checks_method=checks_method)
    data = calls.handle(engine.make_session(), Method.MULTI_INFERENCE, request.SerializeToString())
    return messages.MultiInferenceResponse.FromString(data)


def test_multi_inference(engine: Engine) -> None:
    response = multi(engine, ("m", "classify", CLASSIFY_METHOD), ("m", "regress", REGRESS_METHOD))
    first, second = response.results
    assert [item.score for item in first.classification_result.classifications[1].classes] == [4.0, -4.0]
    assert [item.value for item in second.regression_result.regressions] == [3.0, -4.0]
    assert [result.model_spec.signature_name for result in response.results] == ["classify", "regress"]


@pytest.mark.parametrize(
    ("tasks", "checks_method", "kind", "message"),
    [
        (
            [("m", "regress", REGRESS_METHOD), ("", "classify", CLASSIFY_METHOD)],
            False,
            InvalidRequest,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("m", "regress", REGRESS_METHOD), ("n", "classify", CLASSIFY_METHOD)],
            False,
            InvalidRequest,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("m", "regress", REGRESS_METHOD), ("m", "regress", REGRESS_METHOD)],
            False,
            InvalidRequest,
            "Duplicate evaluation of signature: regress",
        ),
        (
            [("m", "nonesuch", REGRESS_METHOD)],
            False,
            InvalidRequest,
            "Requested signature not found in model graph: nonesuch",
        ),
        ([("m", "", REGRESS_METHOD)], False, InvalidRequest, "not found in model graph: serving_default"),
        ([("m", "regress", PREDICT_METHOD)], False, NotSupported, "Unsupported signature method_name: "),
        ([("m", "classes_int64", CLASSIFY_METHOD)], False, InvalidRequest, "Expected classes Tensor of DT_STRING."),
        ([("m", "values_string", REGRESS_METHOD)], False, InvalidRequest, "Expected output Tensor of DT_FLOAT."),
        (
            [("m", "declared_regress", REGRESS_METHOD), ("m", "classify", CLASSIFY_METHOD)],
            True,
            InvalidRequest,
            "Expected classification signature method_name to be tensorflow/serving/classify.",
        ),
    ],
)
def test_multi_inference_that_is_wrong(
    engine: Engine, tasks: list[Any], checks_method: bool, kind: type[RequestError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        multi(engine, *tasks, checks_method=checks_method)
    assert message in str(caught.value)


def test_served(serving_models: Path, tmp_path: Path) -> None:
    """By REST and, with the check, by the model's setting."""
    shutil.copytree(serving_models / "heads", tmp_path / "heads")
    manifest = (
        "models: [{name: any, path: heads, engine: tensorflow},"
        " {name: strict, path: heads, engine: tensorflow, signature_method_name_check: true}]"
    )
    body = {"signature_name": "regress", "examples": [{"x": 1.5}]}
    with serving(tmp_path, manifest, listen=WITH_REST) as server:
        assert ask(server.http, "POST", "/v1/models/any:regress", body).json == {"results": [3.0]}
        refused = ask(server.http, "POST", "/v1/models/strict:regress", body)
        assert (refused.status, "Expected regression signature method_name" in refused.json["error"]) == (400, True)
        declared = {**body, "signature_name": "declared_regress"}
        assert ask(server.http, "POST", "/v1/models/strict:regress", declared).json == {"results": [3.0]}
        body = {"signature_name": "classes_int64", "examples": [{"x": np.pi}]}
        refused = ask(server.http, "POST", "/v1/models/any:classify", body)
        assert (refused.status, "Expected classes Tensor of DT_STRING" in refused.json["error"]) == (400, True)
