"""The native path of the tensorflow engine, from request bytes to response bytes, against Python's codec.

The model returns every input as it came, so that what the native decoder made of a request can be read from its answer.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corelane.kernels import instruction_sets
from corelane.processor import _native
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.errors import InvalidRequest, LoadError, RequestError
from corelane.processor.serving import validation
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import error_of_number
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES
from tests.processor.wire.test_tensors import array_of, partial_protos, same
from tests.support.threads import in_threads

avx512 = pytest.mark.skipif("avx512f" not in instruction_sets(), reason="oneDNN has no bf16 here")

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def types(tensorflow_models: Path) -> Iterator[TensorFlowEngine]:
    engine = load_engine("tensorflow", tensorflow_models / "types/1", EngineOptions())
    assert isinstance(engine, TensorFlowEngine)
    yield engine
    engine.unload()


def answer_of(engine: TensorFlowEngine, data: bytes, *, tensor_content: bool = False) -> bytes | None:
    """The native path's answer; None if it leaves the request to Python."""
    style = _native.PredictSettings(
        model="types",
        version=300,
        tensor_content=tensor_content,
        response_bytes_max=LIMIT,
        tensor_bytes_max=validation.DECODED_FACTOR * LIMIT,
    )
    session = _native.PredictSession(engine.model, engine.make_session(), style)
    result, answer, code = session.predict(data)
    if result is _native.PredictResult.FAILED:
        raise error_of_number(code, answer.decode())
    return answer if result is _native.PredictResult.RAN else None


def full_request(**protos: Any) -> Any:
    """A request of every input of the model: those given, and one element of the others."""
    request = messages.PredictRequest()
    for dtype, short in SHORT_NAMES.items():
        request.inputs[short].CopyFrom(protos.get(short) or tensors.to_proto(array_of(dtype, (1,), b"\x01")))
    return request


def check_agreement(engine: TensorFlowEngine, data: bytes, *, tensor_content: bool = False) -> str:
    """What the native path made of these bytes; fails if Python's codec would have made something else of them."""
    try:
        request = messages.parse(messages.PredictRequest, data)
        signature = validation.find_signature(engine.signatures(), request.model_spec.signature_name)
        outputs = validation.choose_outputs(signature, request.output_filter)
        expected = validation.decode_inputs(signature, request.inputs, LIMIT)
    except RequestError:
        expected = None
    answer = answer_of(engine, data, tensor_content=tensor_content)
    if answer is None:
        return "refused"
    assert expected is not None, "the native path took what Python refuses"
    response = messages.PredictResponse.FromString(answer)
    assert set(response.outputs) == set(outputs)
    for name in outputs:
        same(tensors.decode(name, response.outputs[name], bytes_max=1 << 30), expected[name.removesuffix("_out")])
    assert (response.model_spec.name, response.model_spec.version.value) == ("types", 300)
    assert response.model_spec.signature_name == "serving_default"
    return "answered"


shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@settings(deadline=None)
@given(st.sampled_from(sorted(NUMPY_TYPES)), shapes, st.binary(max_size=40), st.booleans(), st.randoms())
def test_every_type_and_form(
    types: TensorFlowEngine, dtype: str, shape: tuple[int, ...], data: bytes, as_content: bool, source: random.Random
) -> None:
    array = array_of(dtype, shape, data)
    if array.dtype.kind in "fc":
        array = np.nan_to_num(array)  # Python's floats quieten signalling NaNs
    request = full_request(**{SHORT_NAMES[dtype]: tensors.to_proto(array, as_content=as_content)})
    wanted = source.sample(sorted(types.signatures()["serving_default"].outputs), 3)
    request.output_filter.extend(wanted)
    data = request.SerializeToString()
    assert check_agreement(types, data, tensor_content=source.random() < 0.5) == "answered"


def test_the_form_of_answers(types: TensorFlowEngine) -> None:
    data = full_request().SerializeToString()
    for tensor_content in (False, True):
        answer = answer_of(types, data, tensor_content=tensor_content)
        assert answer is not None
        for name, proto in messages.PredictResponse.FromString(answer).outputs.items():
            assert bool(proto.tensor_content) == (tensor_content and name != "string_out")
            assert len(proto.ListFields()) == 3, "dtype, shape and values"


def test_numbers_in_place_at_every_alignment(types: TensorFlowEngine) -> None:
    """Whether a number's bytes happen to be aligned decides how they reach the engine, and nothing else."""
    array = np.arange(64, dtype=np.float32)
    for padding in range(70):
        request = full_request(
            float=tensors.to_proto(array), double=tensors.to_proto(array.astype(np.float64), as_content=True)
        )
        request.model_spec.name = "m" * padding
        assert check_agreement(types, request.SerializeToString()) == "answered"


def test_values_that_fill_the_rest(types: TensorFlowEngine) -> None:
    for proto in partial_protos():
        name = SHORT_NAMES[tensors.type_name(proto.dtype)]
        assert check_agreement(types, full_request(**{name: proto}).SerializeToString()) == "answered"


def unpacked(field: int, wire_type: int, *values: bytes) -> bytes:
    return b"".join(bytes([field << 3 | wire_type]) + value for value in values)


def test_values_that_are_not_packed_in_any_order(types: TensorFlowEngine) -> None:
    shape = b"\x12\x04\x12\x02\x08\x03"
    dtype = {name: bytes([0x08, tensors.type_number(f"DT_{name.upper()}")]) for name in ("float", "int32", "bool")}
    floats = unpacked(5, 5, np.float32(1).tobytes(), np.float32(2).tobytes())
    ints = unpacked(7, 0, b"\x05", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    bools = unpacked(11, 0, b"\x80\x02", b"\x00", b"\x01")
    parts = {
        "float": [floats + shape + dtype["float"], dtype["float"] + floats[:5] + b"\x2a\x08" + b"\0" * 8 + shape],
        "int32": [ints + dtype["int32"] + shape, dtype["int32"] + shape + ints],
        "bool": [shape + bools + dtype["bool"]],
    }
    for name, forms in parts.items():
        for form in forms:
            rest = full_request()
            del rest.inputs[name]
            key = b"\x0a" + bytes([len(name)]) + name.encode()
            for entry in (
                key + b"\x12" + bytes([len(form)]) + form,
                b"\x12" + bytes([len(form)]) + form + key,
            ):
                data = rest.SerializeToString() + b"\x12" + bytes([len(entry)]) + entry
                assert check_agreement(types, data) == "answered", (name, form)


def test_requests_that_do_not_fit_are_left_to_python(types: TensorFlowEngine) -> None:
    def changed(change: Any) -> bytes:
        request = full_request()
        change(request)
        return request.SerializeToString()

    for change in (
        lambda r: r.inputs.pop("float"),
        lambda r: r.inputs["other"].CopyFrom(r.inputs["float"]),
        lambda r: r.inputs["float"].CopyFrom(r.inputs["double"]),
        lambda r: setattr(r.model_spec, "signature_name", "other"),
        lambda r: r.output_filter.append("other"),
        lambda r: r.output_filter.extend(["float_out", "float_out"]),
        lambda r: r.inputs["float"].tensor_shape.dim.add(size=-1),
        lambda r: r.inputs["float"].tensor_shape.dim.add(size=1 << 62),
        lambda r: setattr(r.inputs["float"].tensor_shape, "unknown_rank", True),
        lambda r: setattr(r.inputs["float"], "tensor_content", b"abc"),
        lambda r: r.inputs["float"].float_val.extend([1, 2]),
        lambda r: setattr(r.inputs["string"], "tensor_content", b"\x01a"),
        lambda r: [r.inputs[n].tensor_shape.dim.add(size=1 << 18) for n in ("double", "int64", "string")],
    ):
        assert check_agreement(types, changed(change)) == "refused"
    assert answer_of(types, b"\xff") is None
    assert answer_of(types, b"") is None


def test_an_answer_over_the_limit_is_an_error(types: TensorFlowEngine) -> None:
    proto = tensors.to_proto(np.zeros(1, np.float32))
    proto.tensor_shape.dim[0].size = LIMIT // 4
    with pytest.raises(InvalidRequest, match=rf"is over listen.message_bytes_max \({LIMIT}\)"):
        answer_of(types, full_request(float=proto).SerializeToString())


def test_any_bytes(types: TensorFlowEngine) -> None:
    source = random.Random(5)
    good = full_request().SerializeToString()
    seen = set()
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(source.randint(1, 3)):
            data[source.randrange(len(data))] = source.randrange(256)
        seen.add(check_agreement(types, bytes(data[: source.choice([len(data), source.randrange(len(data))])])))
    assert seen == {"answered", "refused"}


def test_errors_of_the_graph(tensorflow_models: Path) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "tf1/1", EngineOptions())
    signature = engine.signatures()["regress"]
    empty = np.array([b""], object)
    with pytest.raises(InvalidRequest, match=r"Feature: x .* is required but could not be found"):
        engine.run(engine.make_session(), signature, {"inputs": empty}, ["outputs"])
    engine.unload()


def test_branches_and_loops(tensorflow_models: Path) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "branches/1", EngineOptions())
    signature, session = engine.signatures()["serving_default"], engine.make_session()
    for x, y in ([1.0, 2.0], [16.0, 24.0]), ([-1.0, -2.0], [-16.0, -24.0]):
        found = engine.run(session, signature, {"x": np.array(x, np.float32)}, ["y"])
        assert found["y"].tolist() == y
    engine.unload()


def test_what_a_model_keeps_of_a_request_is_never_written_again(tensorflow_models: Path) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "keeper/1", EngineOptions())
    signature, session = engine.signatures()["serving_default"], engine.make_session()
    before = [0.0]
    for step in range(1, 20):
        kept = np.full(2, step, np.float32)
        assert engine.run(session, signature, {"x": kept}, ["before"])["before"].tolist() == before
        before = kept.tolist()
    engine.unload()


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=avx512)])
def test_strings_that_a_model_keeps_are_its_own(tensorflow_models: Path, precision: str) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "table/1", EngineOptions(precision=precision))
    signature, session = engine.signatures()["serving_default"], engine.make_session()
    put: set[bytes] = set()
    for step in range(50):
        words = [b"word %d, not as short as to lie in the tensor itself" % (2 * step + place) for place in range(2)]
        before = engine.run(session, signature, {"word": np.array(words, object)}, ["before"])["before"]
        assert set(before.tolist()) - {b""} == put  # the load tries an empty word
        put.update(words)
    engine.unload()


def test_many_threads_on_one_model(tensorflow_models: Path) -> None:
    engine = load_engine("tensorflow", tensorflow_models / "tf2/1", EngineOptions())
    signature = engine.signatures()["serving_default"]
    wrong: list[int] = []

    def work(seed: int) -> None:
        session = engine.make_session()
        for step in range(100):
            rows = 1 + step % 4
            inputs = {"word": np.array([b"a"] * rows, object), "x": np.full((rows, 2), seed + step, np.float32)}
            score = engine.run(session, signature, inputs, ["score"])["score"]
            if score.tolist() != [1.0 + 6.0 * (seed + step)] * rows:
                wrong.append(step)

    in_threads(4, work)
    assert wrong == []
    engine.unload()


def test_folders_that_are_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not a SavedModel that TensorFlow can load"):
        load_engine("tensorflow", tmp_path, EngineOptions())
    with pytest.raises(LoadError, match="op library /nonesuch"):
        load_engine("tensorflow", tmp_path, EngineOptions(op_libraries=("/nonesuch.so",)))
