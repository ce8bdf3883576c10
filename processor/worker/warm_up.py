"""First runs before a version is AVAILABLE: engines optimize a graph and grow their memory when it first runs."""

import itertools
import logging
from pathlib import Path
from typing import Any

from processor.engines import Engine
from processor.errors import RequestError
from processor.methods import Method
from processor.tensors import generated_inputs
from processor.wire.prediction_log import read_logs
from processor.worker.inference import Inference
from processor.worker.samples import RECORDED, RECORDS_MAX

_logger = logging.getLogger(__name__)


def warm_up(engine: Engine, sessions: list[Any], folder: Path, bytes_max: int) -> None:
    """Runs every signature once on every session, with zeros and empty strings, one where a size is unknown; then the
    calls recorded in `folder`, dealt out over the sessions. A model may refuse such values; its own error is then the
    first run, and nothing is lost but the warm-up. A signature that changes state runs only as it was recorded."""
    for signature in engine.signatures().values():
        if signature.effect:
            _logger.info("signature %s is not warmed up with generated inputs: %s", signature.name, signature.effect)
            continue
        inputs = generated_inputs(signature)
        for session in sessions:
            try:
                engine.run(session, signature, inputs, list(signature.outputs))
            except RequestError as error:
                _logger.info("signature %s refuses generated inputs, so it is not warmed up: %s", signature.name, error)
                break
    path = folder / RECORDED
    if path.is_file():
        _replay(path, engine, sessions, bytes_max)


def _replay(path: Path, engine: Engine, sessions: list[Any], bytes_max: int) -> None:
    calls = Inference(engine=engine, model="", version=0, message_bytes_max=bytes_max)
    counts = dict.fromkeys(Method, 0)
    turns = itertools.cycle(sessions)
    try:
        for method, request, _ in itertools.islice(read_logs(path), RECORDS_MAX):
            try:
                calls.handle(next(turns), method, request.SerializeToString())
                counts[method] += 1
            except RequestError as error:
                _logger.warning("a warm-up request fails: %s", error)
    except (ValueError, OSError) as error:
        _logger.warning("%s is not read further: %s", path, error)
    said = ", ".join(f"{count} {method.name}" for method, count in counts.items() if count)
    if said:
        _logger.info("warmed up with recorded requests: %s", said)
