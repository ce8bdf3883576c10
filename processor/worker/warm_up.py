"""First runs before a version is AVAILABLE: engines optimize a graph and grow their memory when it first runs."""

import logging
from typing import Any

from processor.engines import Engine
from processor.errors import RequestError
from processor.tensors import generated_inputs

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
