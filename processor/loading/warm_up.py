"""First runs before a version is AVAILABLE: engines optimize a graph and grow their memory when it first runs."""

import itertools
import logging
from pathlib import Path
from typing import Any

from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine
from corelane.processor.errors import EngineFailed, FailedPrecondition, LoadError, RequestError
from corelane.processor.loading.phases import LoadPhase, OnPhase, untold
from corelane.processor.serving.inference import Inference
from corelane.processor.trials.samples import RECORDED, RECORDS_MAX, made_up
from corelane.processor.wire.prediction_log import read_logs
from corelane.processor.wire.tensor_types import Signature, generated_inputs

_logger = logging.getLogger(__name__)


def warm_up(engine: Engine, sessions: list[Any], folder: Path, bytes_max: int, on_phase: OnPhase = untold) -> None:
    """Runs every signature once on every session, with zeros and empty strings, one where a size is unknown; then the
    calls recorded in `folder`, dealt out over the sessions. A model may refuse such values; its own error is then the
    first run, and nothing is lost but the warm-up. A signature that changes state runs only as it was recorded.

    LoadError if nothing runs, and that has nothing to do with the values: such a version answers nobody."""
    refusals: dict[str, RequestError] = {}
    signatures = [signature for signature in engine.signatures().values() if not signature.effect]
    for signature in engine.signatures().values():
        if signature.effect:
            _logger.info("signature %s is not warmed up with generated inputs: %s", signature.name, signature.effect)
    for signature in signatures:
        on_phase(LoadPhase.WARMING, signature.name)
        inputs = generated_inputs(signature)
        for session in sessions:
            try:
                engine.run(session, signature, inputs, list(signature.outputs))
            except RequestError as error:
                _logger.info("signature %s refuses generated inputs, so it is not warmed up: %s", signature.name, error)
                refusals[signature.name] = error
                break
    path = folder / RECORDED
    on_phase(LoadPhase.WARMING, "")
    answered = _replay(path, engine, sessions, bytes_max) if path.is_file() else 0
    if signatures and len(refusals) == len(signatures) and not answered:
        _check_runs(engine, sessions[0], signatures, list(refusals.values()), on_phase)


def _check_runs(
    engine: Engine, session: Any, signatures: list[Signature], refusals: list[RequestError], on_phase: OnPhase
) -> None:
    """LoadError if no signature runs with any inputs that can be made up, and the version is at fault each time. What
    it lacks is no fault if it has signatures that change state, which may bring it; nor is a fused plan's original,
    without which it serves the shapes that it was made for."""
    faults: tuple[type[RequestError], ...] = (EngineFailed, FailedPrecondition)
    if engine.name == "fused" or any(signature.effect for signature in engine.signatures().values()):
        faults = (EngineFailed,)
    if not all(isinstance(error, faults) for error in refusals):
        return
    for signature in signatures:
        on_phase(LoadPhase.WARMING, signature.name)
        for inputs in made_up(signature):
            try:
                engine.run(session, signature, inputs, list(signature.outputs))
            except faults:
                continue
            except RequestError:
                return
            return
    raise LoadError(f"no signature runs, whatever its inputs: {refusals[0]}")


def _replay(path: Path, engine: Engine, sessions: list[Any], bytes_max: int) -> int:
    """The number of calls that were answered."""
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
    return sum(counts.values())
