"""First runs before a version is AVAILABLE: engines optimize a graph and grow their memory when it first runs."""

import itertools
import logging
from pathlib import Path
from typing import Any

from processor.engines import Engine
from processor.errors import RequestError
from processor.tensors import generated_inputs
from processor.worker import samples

_logger = logging.getLogger(__name__)


def warm_up(engine: Engine, sessions: list[Any], folder: Path, bytes_max: int) -> None:
    """Runs every signature once on every session, with zeros and empty strings, one where a size is unknown; then the
    requests recorded in `folder`, dealt out over the sessions. A model may refuse such values; its own error is then
    the first run, and nothing is lost but the warm-up."""
    for signature in engine.signatures().values():
        inputs = generated_inputs(signature)
        for session in sessions:
            try:
                engine.run(session, signature, inputs, list(signature.outputs))
            except RequestError as error:
                _logger.info("signature %s refuses generated inputs, so it is not warmed up: %s", signature.name, error)
                break
    count = 0
    turns = itertools.cycle(sessions)
    for signature, inputs in samples.recorded(folder, engine.signatures(), bytes_max):
        try:
            engine.run(next(turns), signature, inputs, list(signature.outputs))
            count += 1
        except RequestError as error:
            _logger.warning("a warm-up request fails: %s", error)
    if count:
        _logger.info("warmed up with %d recorded requests", count)
