"""Configurations and statistics of models, as Triton's extensions of the Open Inference Protocol have them."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from corelane.processor.control.inference_facts import VersionConfiguration, VersionStatistics
from corelane.processor.control.questions import ConfigurationQuestion, Question, StatisticsQuestion
from corelane.processor.errors import DeadlinePassed, Overloaded, Unavailable
from corelane.processor.gateway.protocols.kserve import Described, target_of, tensors_of
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.signatures import Asks, Signatures
from corelane.processor.wire import messages

_TYPES = {"BYTES": "TYPE_STRING"}  # the others are named alike
_KNOWN_TYPES = messages.POOL.FindEnumTypeByName("inference.DataType").values_by_name
_QUESTIONS_MAX = 8  # at once, of one gateway
_ANSWER_S = 5.0
_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

_Answer = TypeVar("_Answer")


class ModelFacts:
    """Thread safety: every method from any thread."""

    def __init__(self, router: Router, signatures: Signatures, ask: Asks, send_counts: Callable[[], None]) -> None:
        """`send_counts` tells the supervisor what was counted here."""
        self._router = router
        self._signatures = signatures
        self._ask = ask
        self._send_counts = send_counts
        self._places = threading.BoundedSemaphore(_QUESTIONS_MAX)

    def configuration(self, name: str, version: str) -> Any:
        """A ModelConfigResponse. The errors of ModelMetadata."""
        route, _, found = self._signatures.of(*target_of(name, version))
        inputs, outputs = tensors_of(found)
        assert route.instance is not None
        facts = self._asked(ConfigurationQuestion(instance=route.instance))
        response = messages.ModelConfigResponse()
        config = response.config
        config.name, config.platform, config.backend = name, "corelane", facts.engine
        _fill_policy(config.version_policy, facts)
        batches = facts.batch_rows_max > 0 and _have_batches(inputs, outputs)
        if batches:
            config.max_batch_size = facts.batch_rows_max
            config.dynamic_batching.max_queue_delay_microseconds = round(facts.batch_wait_us)
        for target, described in ((config.input, inputs), (config.output, outputs)):
            for alias, datatype, shape in described:
                kind = _TYPES.get(datatype, f"TYPE_{datatype}")
                target.add(
                    name=alias,
                    data_type=kind if kind in _KNOWN_TYPES else "TYPE_INVALID",
                    dims=shape[1:] if batches else shape,
                )
        config.instance_group.add(name=f"{name}_{route.version}", count=facts.sessions, kind="KIND_CPU")
        return response

    def statistics(self, name: str, version: str) -> Any:
        """A ModelStatisticsResponse: of all models without a name, else of the model or the version. The errors of
        ModelMetadata."""
        question = StatisticsQuestion()
        if name or version:
            route, _ = self._router.choose(*target_of(name, version), None)
            question = StatisticsQuestion(model=name, version=route.version if version else None)
        self._send_counts()
        answer = self._asked(question)
        response = messages.ModelStatisticsResponse()
        for facts in answer.versions:
            _fill_statistics(response.model_stats.add(), facts)
        return response

    def _asked(self, question: Question[_Answer]) -> _Answer:
        """The supervisor's answer. However it is, calls keep their threads: few wait here, and not for long."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{_QUESTIONS_MAX} questions for configurations or statistics wait for an answer already")
        try:
            return self._ask(question, _ANSWER_S)
        except DeadlinePassed:
            raise Unavailable(f"the supervisor did not answer within {_ANSWER_S:g} s") from None
        finally:
            self._places.release()


def _have_batches(inputs: Sequence[Described], outputs: Sequence[Described]) -> bool:
    """Whether Triton's words for batches fit: every tensor has a first dimension of any size, which the configuration
    leaves out, and inputs have another."""
    opens = all(shape[:1] == [-1] for _, _, shape in (*inputs, *outputs))
    return opens and all(len(shape) > 1 for _, _, shape in inputs)


def _fill_policy(policy: Any, facts: VersionConfiguration) -> None:
    if facts.policy == "latest":
        policy.latest.num_versions = facts.latest
    elif facts.policy == "all":
        policy.all.SetInParent()
    else:
        policy.specific.versions.extend(facts.listed)


def _fill_statistics(target: Any, facts: VersionStatistics) -> None:
    target.name, target.version = facts.model, str(facts.version)
    target.last_inference = facts.last_ms
    target.inference_count, target.execution_count = facts.success.count, facts.executions
    for name in _DURATIONS:
        duration = getattr(target.inference_stats, name)
        duration.SetInParent()
        for field, value in dataclasses.asdict(getattr(facts, name)).items():
            setattr(duration, field, value)
