"""The native codec between tensorflow-serving-api's own messages: its requests in, its arrays out, bit by bit."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corelane.processor import _native
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SHORT_NAMES
from tests.conftest import ServingApi
from tests.processor.wire.test_tensors import array_of
from tests.support import raw_arrays


@pytest.fixture(scope="module")
def session(tensorflow_models: Path) -> Iterator[_native.PredictSession]:
    engine = load_engine("tensorflow", tensorflow_models / "types/1", EngineOptions())
    assert isinstance(engine, TensorFlowEngine)
    style = _native.PredictSettings(
        model="types", version=1, tensor_content=False, response_bytes_max=1 << 24, tensor_bytes_max=1 << 24
    )
    yield _native.PredictSession(engine.model, engine.make_session(), style)
    engine.unload()


# numpy's strings end at their last NUL, and tf.make_tensor_proto makes such strings of bytes.
arrays = st.fixed_dictionaries(
    {
        short: st.builds(
            array_of, st.just(dtype), st.lists(st.integers(0, 3), max_size=3).map(tuple), st.binary(max_size=24)
        )
        for dtype, short in SHORT_NAMES.items()
    }
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays)
def test_round_trip(session: _native.PredictSession, serving_api: ServingApi, inputs: dict[str, np.ndarray]) -> None:
    for name, array in inputs.items():
        if array.dtype.kind in "fc":
            inputs[name] = np.nan_to_num(array)
    if inputs["string"].size == 0:
        inputs["string"] = np.array([b"x"], np.object_)  # of no strings, make_tensor_proto cannot tell the type
    packed = {name: raw_arrays.pack(array) for name, array in inputs.items()}
    request = base64.b64decode(serving_api.ask("build_request", packed)["ok"])
    result, answer, _ = session.predict(request)
    assert result is _native.PredictResult.RAN
    found = serving_api.ask("read_response", base64.b64encode(answer).decode())["ok"]
    assert {name.removesuffix("_out"): raw for name, raw in found.items()} == packed


def test_all_types_are_here() -> None:
    assert set(SHORT_NAMES) == set(NUMPY_TYPES)
