"""What gateways ask of the supervisor, mostly for clients, and what it answers.

The base class of a question names its answer. A question that cannot be answered gets a Refusal.
"""

import typing
from dataclasses import dataclass
from typing import Generic, TypeVar

from corelane.processor.control.inference_facts import VersionConfiguration, VersionStatistics

_Answer = TypeVar("_Answer")


class Question(Generic[_Answer]):
    """One of this module's; `_Answer` is the kind of its answer."""

    __slots__ = ()

    @property
    def subject(self) -> str:
        """The question as a word, for logs."""
        return type(self).__name__.removesuffix("Question").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`code` is the gRPC code of the error that the client gets, `reason` its text."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was asked for has been done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsText:
    """The metrics as Prometheus reads them."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSignatures:
    """A serialized GetModelMetadataResponse with the signatures of a version."""

    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsList:
    """The versions that the question is about and that have served."""

    versions: tuple[VersionStatistics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsQuestion(Question[MetricsText]):
    """The metrics of the whole server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadQuestion(Question[Done]):
    """Serve the models of this serialized ReloadConfigRequest in place of the manifest's."""

    request: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadQuestion(Question[Done]):
    """Look at a model's folder and serve what should be served of it."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadQuestion(Question[Done]):
    """Send a model no more requests and unload it."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturesQuestion(Question[EncodedSignatures]):
    """The signatures of the version that worker `instance` serves."""

    instance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationQuestion(Question[VersionConfiguration]):
    """How worker `instance` serves its version."""

    instance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuestion(Question[StatisticsList]):
    """Statistics of all models, of one model, or of one version of it."""

    model: str | None = None
    version: int | None = None


AnyQuestion = (
    MetricsQuestion
    | ReloadQuestion
    | LoadQuestion
    | UnloadQuestion
    | SignaturesQuestion
    | ConfigurationQuestion
    | StatisticsQuestion
)
AnyAnswer = Refusal | Done | MetricsText | EncodedSignatures | VersionConfiguration | StatisticsList


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """From a gateway. `number` is the question's among the gateway's."""

    number: int
    question: AnyQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """To a gateway: the answer to its question `number`."""

    number: int
    answer: AnyAnswer


def answer_type(question: Question[_Answer]) -> type[_Answer]:
    """The kind of a question's answer."""
    (base,) = type(question).__orig_bases__  # type: ignore[attr-defined]
    (kind,) = typing.get_args(base)
    return typing.cast(type[_Answer], kind)
