"""ModelInferRequests on the native path against Python's codec, on a model that returns its inputs as they came."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corelane.processor import _native
from corelane.processor.channel.methods import Method
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.errors import InvalidRequest
from corelane.processor.serving.inference import Inference
from corelane.processor.wire import kserve_tensors, messages
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def types(tensorflow_models: Path) -> Iterator[TensorFlowEngine]:
    engine = load_engine("tensorflow", tensorflow_models / "types/1", EngineOptions())
    assert isinstance(engine, TensorFlowEngine)
    yield engine
    engine.unload()


def native(engine: TensorFlowEngine, request: Any) -> bytes | None:
    """The native path's answer; None if it leaves the request to Python."""
    settings = _native.PredictSettings(
        model="types", version=300, tensor_content=False, response_bytes_max=LIMIT, tensor_bytes_max=4 * LIMIT
    )
    session = _native.PredictSession(engine.model, engine.make_session(), settings)
    result, answer, _ = session.predict(request.SerializeToString(), infer=True)
    return answer if result is _native.PredictResult.RAN else None


def python(engine: TensorFlowEngine, request: Any) -> bytes:
    calls = Inference(engine=engine, model="types", version=300, message_bytes_max=LIMIT)
    return calls.handle(engine.make_session(), Method.INFER, request.SerializeToString())


def arrays(source: random.Random) -> dict[str, np.ndarray]:
    found = {}
    for name, datatype in kserve_tensors.DATATYPES.items():
        shape = [source.randrange(4) for _ in range(source.randrange(4))]
        count = int(np.prod(shape))
        if datatype == "BYTES":
            array = np.empty(count, object)
            array[:] = [source.randbytes(source.randrange(5)) for _ in range(count)]
        else:
            data = source.randbytes(count * NUMPY_TYPES[name].itemsize)
            array = (
                np.frombuffer(data, np.uint8) % 2 == 1 if datatype == "BOOL" else np.frombuffer(data, NUMPY_TYPES[name])
            )
        found[SHORT_NAMES[name]] = array.reshape(shape)
    return found


def request_of(inputs: dict[str, np.ndarray], *, raw: bool, source: random.Random) -> Any:
    request = messages.ModelInferRequest(model_name="types", model_version="300", id="an id")
    request.parameters["signature_name"].string_param = "plain"
    for name in source.sample(sorted(inputs), len(inputs)):
        array = inputs[name]
        datatype = kserve_tensors.datatype_of(array, name)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(kserve_tensors.to_raw(array))
        else:
            getattr(tensor.contents, kserve_tensors._CONTENTS[datatype]).extend(array.ravel().tolist())
    return request


def outputs_of(answer: bytes) -> dict[str, np.ndarray]:
    response = messages.ModelInferResponse.FromString(answer)
    assert (response.model_name, response.model_version, response.id) == ("types", "300", "an id")
    return {
        tensor.name: kserve_tensors.from_raw(tensor.name, tensor.datatype, tensor.shape, raw)
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


@pytest.mark.parametrize("seed", range(30))
def test_every_type_raw(types: TensorFlowEngine, seed: int) -> None:
    source = random.Random(seed)
    inputs = arrays(source)
    request = request_of(inputs, raw=True, source=source)
    answer = native(types, request)
    assert answer is not None
    outputs = outputs_of(answer)
    assert len(outputs) == len(inputs) == 14
    for name, array in inputs.items():
        assert outputs[f"{name}_out"].dtype == array.dtype
        assert outputs[f"{name}_out"].shape == array.shape
        assert outputs[f"{name}_out"].tobytes() == array.tobytes() or array.dtype == object
    np.testing.assert_array_equal(outputs["string_out"], inputs["string"])
    wanted = outputs_of(python(types, request))
    for name, array in outputs.items():
        np.testing.assert_array_equal(wanted[name], array)


def scalars(engine: TensorFlowEngine, **inputs: np.ndarray) -> Any:
    """A request of all inputs, raw: those given, and one element of the others."""
    source = random.Random(0)
    all_inputs = {
        SHORT_NAMES[name]: np.array([b"a"], object) if datatype == "BYTES" else np.ones(1, NUMPY_TYPES[name])
        for name, datatype in kserve_tensors.DATATYPES.items()
    }
    return request_of(all_inputs | inputs, raw=True, source=source)


@pytest.mark.parametrize("seed", range(10))
def test_contents_that_are_not_raw(tensorflow_models: Path, seed: int) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "tf2/1", EngineOptions())
    assert isinstance(engine, TensorFlowEngine)
    source = random.Random(seed)
    rows = source.randrange(4)
    inputs = {
        "x": np.array([[source.random(), source.random()] for _ in range(rows)], np.float32).reshape(rows, 2),
        "word": np.array([source.choice([b"a", b"b", b"\xff"]) for _ in range(rows)], object),
    }
    answers = []
    for raw in (True, False):
        request = request_of(inputs, raw=raw, source=source)
        del request.parameters["signature_name"]
        answer = native(engine, request)
        assert answer is not None
        answers += [messages.ModelInferResponse.FromString(one) for one in (answer, python(engine, request))]
    found = [
        {tensor.name: data for tensor, data in zip(one.outputs, one.raw_output_contents, strict=True)}
        for one in answers
    ]
    assert found[0] == found[1] == found[2] == found[3]
    engine.unload()


def first(request: Any, name: str) -> Any:
    return next(tensor for tensor in request.inputs if tensor.name == name)


def raw_of(request: Any, name: str) -> int:
    return next(index for index, tensor in enumerate(request.inputs) if tensor.name == name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: setattr(first(r, "float"), "datatype", "FP31"), "input 'float' has datatype 'FP31'; known: BF16"),
        (lambda r: setattr(first(r, "float"), "datatype", "INT32"), "to be float but int32 is provided"),
        (lambda r: first(r, "float").shape.append(3), "has 4 bytes; FP32 of shape .1, 3. takes 12"),
        (lambda r: first(r, "float").shape.append(-1), "with a negative dimension"),
        (lambda r: first(r, "float").shape.extend([1] * 70), "has rank 71, over 64"),
        (lambda r: setattr(first(r, "float"), "name", "flout"), "invalid name|not found in request"),
        (lambda r: r.inputs.add(name="int8", datatype="INT8", shape=[0]), "14 raw_input_contents for 15 inputs"),
        (lambda r: first(r, "float").contents.fp32_contents.append(1), "has contents beside raw_input_contents"),
        (lambda r: r.raw_input_contents.pop(), "13 raw_input_contents for 14 inputs"),
        (lambda r: r.raw_input_contents.__setitem__(raw_of(r, "string"), b"\x05\0\0\0a"), "ends within an element"),
        (lambda r: r.raw_input_contents.__setitem__(raw_of(r, "string"), b"\x05\0\0"), "within the length of an elem"),
        (lambda r: r.raw_input_contents.__setitem__(raw_of(r, "string"), b"\0" * 8), "2 elements; shape .1. takes 1"),
        (lambda r: r.outputs.add(name="nothing"), "output tensor alias not found in signature: nothing"),
        (
            lambda r: setattr(first(r, "float").parameters["shared_memory_region"], "string_param", "a"),
            "parameter 'shared_memory_region' of input 'float' is not offered: this server reads and writes no shared",
        ),
    ],
)
def test_requests_that_do_not_fit(types: TensorFlowEngine, change: Callable[[Any], Any], message: str) -> None:
    request = scalars(types)
    change(request)
    assert native(types, request) is None
    with pytest.raises(InvalidRequest, match=message):
        python(types, request)


def parameter(request: Any, holder: str) -> Any:
    """The parameters of a request, of an input of it or of an output that is asked for."""
    if holder == "request":
        return request.parameters
    if holder == "input":
        return first(request, "float").parameters
    return request.outputs.add(name="float_out").parameters


@pytest.mark.parametrize(
    ("holder", "name", "field", "value", "is_native"),
    [
        ("request", "priority", "int64_param", 3, True),
        ("request", "priority", "uint64_param", 3, True),
        ("request", "timeout", "int64_param", 1000, True),
        ("request", "binary_data_output", "bool_param", True, True),
        ("request", "content_type", "string_param", "np", False),
        ("request", "sequence_id", "int64_param", 0, False),
        ("request", "sequence_id", "string_param", "", False),
        ("request", "sequence_start", "bool_param", False, False),
        ("request", "triton_enable_empty_final_response", "bool_param", True, True),
        ("input", "content_type", "string_param", "str", False),
        ("output", "binary_data", "bool_param", False, True),
        ("output", "classification", "int64_param", 0, False),
    ],
)
def test_parameters_that_change_no_answer(
    types: TensorFlowEngine, holder: str, name: str, field: str, value: Any, is_native: bool
) -> None:
    request = scalars(types)
    setattr(parameter(request, holder)[name], field, value)
    assert (native(types, request) is not None) == is_native
    expected = {"float_out"} if holder == "output" else {f"{tensor.name}_out" for tensor in request.inputs}
    assert outputs_of(python(types, request)).keys() == expected


@pytest.mark.parametrize(
    ("holder", "name", "field", "value", "message"),
    [
        ("request", "sequence_id", "int64_param", 7, "keeps no state between requests"),
        ("request", "sequence_id", "uint64_param", 2**63, "keeps no state between requests"),
        ("request", "sequence_id", "string_param", "a", "keeps no state between requests"),
        ("request", "sequence_start", "bool_param", True, "keeps no state between requests"),
        ("request", "sequence_end", "bool_param", True, "keeps no state between requests"),
        ("request", "signature_name", "int64_param", 1, "parameter 'signature_name' of the request should be text"),
        ("request", "signature_name", "bool_param", True, "should be text"),
        ("request", "binary_data_output", "int64_param", 1, "should be true or false"),
        ("request", "content_type", "string_param", "base64", "is offered as np, pd and str only"),
        ("request", "temperature", "double_param", 0.5, "'temperature' of the request is not known; known: binary_da"),
        ("request", "Priority", "int64_param", 1, "'Priority' of the request is not known"),
        ("request", "classification", "int64_param", 3, "'classification' of the request is not offered"),
        ("input", "shared_memory_region", "string_param", "a", "of input 'float' is not offered: this server reads"),
        ("input", "shared_memory_offset", "int64_param", 8, "writes no shared memory"),
        ("input", "shared_memory_byte_size", "int64_param", 8, "writes no shared memory"),
        ("input", "binary_data_size", "int64_param", 4, "'binary_data_size' of input 'float' is not known"),
        ("input", "content_type", "string_param", "base64", "is offered as np"),
        ("output", "classification", "int64_param", 3, "of output 'float_out' is not offered; ask for the whole out"),
        ("output", "shared_memory_region", "string_param", "a", "of output 'float_out' is not offered: this server"),
        ("output", "shared_memory_offset", "int64_param", 0, "writes no shared memory"),
        ("output", "shared_memory_byte_size", "int64_param", 8, "writes no shared memory"),
        ("output", "binary_data", "string_param", "yes", "should be true or false"),
        ("output", "priority", "int64_param", 1, "'priority' of output 'float_out' is not known"),
    ],
)
def test_parameters_that_are_refused(
    types: TensorFlowEngine, holder: str, name: str, field: str, value: Any, message: str
) -> None:
    request = scalars(types)
    setattr(parameter(request, holder)[name], field, value)
    assert native(types, request) is None
    with pytest.raises(InvalidRequest, match=message):
        python(types, request)


@pytest.mark.parametrize("holder", ["request", "input", "output"])
def test_a_parameter_without_a_value(types: TensorFlowEngine, holder: str) -> None:
    request = scalars(types)
    name = {"request": "signature_name", "input": "content_type", "output": "binary_data"}[holder]
    parameter(request, holder)[name].Clear()
    assert native(types, request) is None
    with pytest.raises(InvalidRequest, match=f"parameter '{name}'"):
        python(types, request)


def test_contents_that_do_not_fit() -> None:
    def check(datatype: str, shape: list[int], contents: dict[str, list], message: str) -> None:
        request = messages.ModelInferRequest()
        tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
        for field, values in contents.items():
            getattr(tensor.contents, field).extend(values)
        with pytest.raises(InvalidRequest, match=message):
            kserve_tensors.decode_inputs(request)

    check("FP32", [2], {"fp32_contents": [1.0]}, "has 1 elements; shape .2. takes 2")
    check("FP32", [1], {"fp64_contents": [1.0]}, "whose values go to fp32_contents, not to fp64_contents")
    check("FP16", [1], {"fp32_contents": [1.0]}, "has no field in contents; send it in raw_input_contents")
    check("INT8", [1], {"int_contents": [300]}, "a value that INT8 cannot hold")


def test_complex_numbers_have_no_name_in_the_protocol(types: TensorFlowEngine) -> None:
    request = scalars(types)
    del request.parameters["signature_name"]
    assert native(types, request) is None
    with pytest.raises(InvalidRequest):
        python(types, request)


def test_the_target_is_read_without_the_tensors() -> None:
    peek = _native.peek_infer_target
    request = messages.ModelInferRequest(model_name="m", model_version="7", raw_input_contents=[b"x" * 1000])
    assert peek(request.SerializeToString()) == ("m", "7")
    assert peek(b"") == ("", "")
    assert peek(b"\x0a\x05m") is None
    assert peek(request.SerializeToString()[:-1]) is None
