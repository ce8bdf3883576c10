"""First runs before a version is AVAILABLE: engines optimize a graph and grow their memory when it first runs."""

import logging
from typing import Any

import numpy as np

from processor.engines import Engine
from processor.errors import RequestError
from processor.tensors import NUMPY_TYPES, Signature, TensorSpec

_logger = logging.getLogger(__name__)


def warm_up(engine: Engine, sessions: list[Any]) -> None:
    """Runs every signature once on every session, with zeros and empty strings, one where a size is unknown. A model
    may refuse such values; its own error is then the first run, and nothing is lost but the warm-up."""
    for signature in engine.signatures().values():
        inputs = generated_inputs(signature)
        for session in sessions:
            try:
                engine.run(session, signature, inputs, list(signature.outputs))
            except RequestError as error:
                _logger.info("signature %s refuses generated inputs, so it is not warmed up: %s", signature.name, error)
                break


def generated_inputs(signature: Signature) -> dict[str, np.ndarray]:
    return {name: _generated(spec) for name, spec in signature.inputs.items()}


def _generated(spec: TensorSpec) -> np.ndarray:
    if spec.default is not None:
        return spec.default
    shape = [1 if size == -1 else size for size in spec.shape or ()]
    return np.full(shape, b"" if spec.dtype == "DT_STRING" else 0, NUMPY_TYPES[spec.dtype])
