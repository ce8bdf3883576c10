"""TensorProto to numpy and back, against TensorFlow's own reading of the same bytes."""

import base64
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from corelane.processor.errors import InvalidRequest
from corelane.processor.wire import tensors
from corelane.processor.wire.messages import TensorProto
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES, TensorSpec, wire_type
from tests.conftest import ServingApi

LIMIT = 1 << 20


def decode(proto: Any) -> np.ndarray:
    return tensors.decode("x", proto, bytes_max=LIMIT)


def same(left: np.ndarray, right: np.ndarray) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    # By bits, so that every NaN equals itself.
    if left.dtype.kind == "O":
        assert left.tolist() == right.tolist()
    else:
        assert left.tobytes() == right.tobytes()


def array_of(dtype_name: str, shape: tuple[int, ...], data: bytes) -> np.ndarray:
    """An array of any bits, made from `data` over and over."""
    dtype = NUMPY_TYPES[dtype_name]
    count = int(np.prod(shape))
    if dtype_name == "DT_STRING":
        array = np.empty(count, object)
        array[:] = [data[index % (len(data) + 1) :] for index in range(count)]
        return array.reshape(shape)
    if dtype_name == "DT_BOOL":
        return np.resize(np.frombuffer(data or b"\0", np.uint8) & 1, shape).astype(bool)
    size = count * dtype.itemsize
    return np.frombuffer((data or b"\0") * (size + 1), np.uint8)[:size].view(dtype).reshape(shape)


shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.sampled_from(sorted(NUMPY_TYPES)), shapes, st.binary(max_size=60), st.booleans())
def test_round_trip_of_every_type_shape_and_bit(
    dtype_name: str, shape: tuple[int, ...], data: bytes, as_content: bool
) -> None:
    array = array_of(dtype_name, shape, data)
    proto = TensorProto.FromString(tensors.to_proto(array, as_content=as_content).SerializeToString())
    if dtype_name in ("DT_FLOAT", "DT_DOUBLE", "DT_COMPLEX64", "DT_COMPLEX128") and not as_content:
        # A signalling NaN may come back as a quiet one from Python's float.
        np.testing.assert_array_equal(decode(proto), array)
    else:
        same(decode(proto), array)


def partial_protos() -> list[Any]:
    """Tensors with fewer values than elements, of every type; and strings in tensor_content."""
    protos = []
    for name in NUMPY_TYPES:
        for count, shape in ((1, (2, 3)), (2, (2, 3)), (0, (2,)), (0, (0, 2)), (1, ()), (2, (2, 1))):
            proto = tensors.to_proto(array_of(name, (count,), b"\x01\x02\x03\x05\x07"))
            del proto.tensor_shape.dim[:]
            for size in shape:
                proto.tensor_shape.dim.add(size=size)
            protos.append(proto)
    wide = tensors.to_proto(np.zeros(2, np.int8))
    wide.int_val[:] = [300, -300]
    protos.append(wide)
    return protos


def test_tensorflow_reads_the_same(serving_api: ServingApi) -> None:
    protos = partial_protos()
    for dtype_name in NUMPY_TYPES:
        for as_content in (False, True):
            protos.append(
                tensors.to_proto(array_of(dtype_name, (2, 3), b"\x00\x01\x7f\x3f\x80"), as_content=as_content)
            )
    data = [base64.b64encode(proto.SerializeToString()).decode() for proto in protos]
    answers = serving_api.ask("round_trip", data)["ok"]
    for proto, answer in zip(protos, answers, strict=True):
        assert answer is not None, proto
        ours = decode(proto)
        name, shape, values = answer
        assert ours.dtype == (object if name == "string" else np.dtype(name))
        assert list(ours.shape) == shape
        if name == "string":
            assert [base64.b64decode(item) for item in values["strings"]] == ours.ravel().tolist()
        elif ours.dtype.kind == "c":
            assert [str(value) for value in ours.ravel().tolist()] == values[0]
        elif ours.dtype.kind in "biuf":
            np.testing.assert_array_equal(np.array(values, ours.dtype).reshape(shape), ours)
        else:
            np.testing.assert_array_equal(np.array(values, np.float32).reshape(shape), ours.astype(np.float32))


def test_strings_in_tensor_content() -> None:
    def proto(content: bytes, count: int) -> Any:
        made = TensorProto(dtype=tensors.type_number("DT_STRING"), tensor_content=content)
        made.tensor_shape.dim.add(size=count)
        return made

    assert decode(proto(b"\x01\x02abc", 2)).tolist() == [b"a", b"bc"]
    assert decode(proto(b"\x00\x80\x01" + b"x" * 128, 2)).tolist() == [b"", b"x" * 128]
    for content, count in ((b"\x05ab", 1), (b"\x01", 1), (b"\x80", 1), (b"\x01ab", 1), (b"\xff" * 30, 2), (b"a", 9)):
        with pytest.raises(InvalidRequest, match=r"^tensor parsing error: x \("):
            decode(proto(content, count))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tensor_or_a_typed_error(data: bytes) -> None:
    try:
        proto = TensorProto.FromString(data)
    except Exception:
        return
    try:
        assert decode(proto).nbytes <= LIMIT
    except InvalidRequest as error:
        assert str(error).startswith("tensor parsing error: x (")


def test_wire_types() -> None:
    assert [wire_type(np.zeros(1, dtype)) for dtype in NUMPY_TYPES.values()] == list(NUMPY_TYPES)
    assert wire_type(np.array(["a"])) == wire_type(np.array([b"a"])) == "DT_STRING"
    assert SHORT_NAMES["DT_BFLOAT16"] == "bfloat16"
    assert wire_type(np.zeros(1, ml_dtypes.bfloat16)) == "DT_BFLOAT16"
    with pytest.raises(ValueError, match="arrays of datetime64"):
        wire_type(np.zeros(1, "datetime64[s]"))


@pytest.mark.parametrize(
    ("spec", "shape", "fits"),
    [
        (None, (1, 2, 3), True),
        ((), (), True),
        ((), (1,), False),
        ((-1, 2), (0, 2), True),
        ((-1, 2), (5, 3), False),
        ((-1, 2), (2,), False),
    ],
)
def test_shapes_that_fit(spec: tuple[int, ...] | None, shape: tuple[int, ...], fits: bool) -> None:
    assert TensorSpec(name="x", dtype="DT_FLOAT", shape=spec, engine_name="x").accepts(shape) is fits
