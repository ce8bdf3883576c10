"""Requests to try a version with before it serves: recorded ones if it comes with them, else made up."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine
from corelane.processor.errors import RequestError
from corelane.processor.serving import validation
from corelane.processor.wire.prediction_log import read_logs
from corelane.processor.wire.tensor_types import NUMPY_TYPES, Signature, TensorSpec, generated_inputs, sparse_triples

_logger = logging.getLogger(__name__)

RECORDED = Path("assets.extra/tf_serving_warmup_requests")
RECORDS_MAX = 1000  # as many as TensorFlow Serving reads
_ROWS = 32
_WORDS = 1000
_LARGEST_INT = 10

Inputs = dict[str, np.ndarray]


def recorded(folder: Path, signatures: Mapping[str, Signature], bytes_max: int) -> Iterator[tuple[Signature, Inputs]]:
    """The Predict requests among those that a SavedModel brings along, as TensorFlow Serving reads them. Those that do
    not fit are told of in the log and left out."""
    path = folder / RECORDED
    if not path.is_file():
        return
    try:
        for number, (method, request, _) in enumerate(read_logs(path)):
            if number == RECORDS_MAX:
                return
            if method is not Method.PREDICT:
                continue
            try:
                signature = validation.find_signature(signatures, request.model_spec.signature_name)
                yield signature, validation.decode_inputs(signature, request.inputs, bytes_max)
            except RequestError as error:
                _logger.warning("warm-up request %d of %s does not fit: %s", number, path, error)
    except (ValueError, OSError) as error:
        _logger.warning("%s is not read further: %s", path, error)


def first_taken(
    engine: Engine, signature: Signature, candidates: Iterable[Inputs]
) -> tuple[Inputs, dict[str, np.ndarray]] | None:
    """The first inputs that the model does not refuse, with its outputs; None too for a signature that changes state,
    which only clients run."""
    if signature.effect:
        return None
    session = engine.make_session()
    for inputs in candidates:
        try:
            return inputs, engine.run(session, signature, inputs, list(signature.outputs))
        except RequestError as error:
            _logger.info("signature %s refuses a sample: %s", signature.name, error)
    return None


def made_up(signature: Signature) -> Iterator[Inputs]:
    """Inputs from a seed: words, small numbers and floats around 0 in several rows; then, for a model that refuses
    those, zeros and empty strings."""
    source = np.random.default_rng(1)
    found = {name: _random(spec, source) for name, spec in signature.inputs.items()}
    for one in sparse_triples(signature):
        found[one.indices] = np.stack([np.arange(_ROWS), np.zeros(_ROWS, np.int64)], 1)
        found[one.shape] = np.array([_ROWS, 1], np.int64)
    yield found
    yield generated_inputs(signature)


def _random(spec: TensorSpec, source: np.random.Generator) -> np.ndarray:
    shape = list(spec.shape or ())
    shape = [_ROWS if axis == 0 and size == -1 else max(size, 1) for axis, size in enumerate(shape)]
    dtype = NUMPY_TYPES[spec.dtype]
    if spec.dtype == "DT_STRING":
        words = np.empty(int(np.prod(shape)), np.object_)
        words[:] = [b"v%d" % number for number in source.integers(_WORDS, size=words.size)]
        return words.reshape(shape)
    if dtype.kind in "iu":
        return source.integers(_LARGEST_INT, size=shape).astype(dtype)
    if dtype.kind == "b":
        return source.integers(2, size=shape).astype(dtype)
    return source.standard_normal(shape).astype(dtype)
