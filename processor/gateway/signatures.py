"""The signatures of the versions that a gateway knows: asked of the supervisor once, then remembered."""

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from corelane.processor.channel.methods import Assignment
from corelane.processor.control.questions import Question, SignaturesQuestion
from corelane.processor.control.routes import VersionRoute
from corelane.processor.errors import DeadlinePassed, NotFound, Unavailable
from corelane.processor.gateway.router import Router
from corelane.processor.serving.served import UNSERVED_SIGNATURES, served_name
from corelane.processor.wire import messages

_FIELD = "signature_def"
_ANSWER_S = 5.0

_Answer = TypeVar("_Answer")


class Asks(Protocol):
    """`corelane.processor.gateway.asking.Ask`, or what stands in for it."""

    def __call__(self, question: Question[_Answer], timeout_s: float | None, /) -> _Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSignatures:
    """The signatures of a version: those that are served (tensorflow.SignatureDef), and why others are not."""

    served: Mapping[str, Any]
    unserved: Mapping[str, str]

    def find(self, name: str) -> tuple[str, Any]:
        """The signature that a request with this name means, and its definition. FailedPrecondition without it."""
        name = served_name(name, self.served, self.unserved)
        return name, self.served[name]


class Signatures:
    """Thread safety: every method from any thread."""

    def __init__(self, router: Router, ask: Asks, timeout_s: float) -> None:
        self._router = router
        self._ask = ask
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._known: dict[int, VersionSignatures] = {}  # by worker

    def of(
        self, model: str, version: int | None, label: str | None, key: str | None = None
    ) -> tuple[VersionRoute, Assignment, VersionSignatures]:
        """The version that a call would go to now, why, and its signatures. Raises the errors of a call."""
        with contextlib.suppress(_WorkerGone):
            return self._of(model, version, label, key)
        try:
            return self._of(model, version, label, key)  # the table may name another worker by now
        except _WorkerGone:
            raise Unavailable(f"model {model} is restarting") from None

    def _of(
        self, model: str, version: int | None, label: str | None, key: str | None
    ) -> tuple[VersionRoute, Assignment, VersionSignatures]:
        route, assignment = self._router.choose(model, version, label, key)
        assert route.instance is not None
        with self._lock:
            known = self._known.get(route.instance)
        if known is None:
            known = self._signatures(route.instance)
            with self._lock:
                self._known[route.instance] = known
                self._forget()
        return route, assignment, known

    def _signatures(self, instance: int) -> VersionSignatures:
        try:
            answer = self._ask(SignaturesQuestion(instance=instance), min(self._timeout_s, _ANSWER_S))
        except NotFound as error:  # a refusal keeps its code, not its class
            raise _WorkerGone from error
        except DeadlinePassed:
            raise Unavailable(
                "the supervisor does not answer, and this gateway has not served the version yet"
            ) from None
        definitions = messages.SignatureDefMap()
        metadata = messages.parse(messages.GetModelMetadataResponse, answer.metadata).metadata
        metadata[_FIELD].Unpack(definitions)
        unserved = {}
        if UNSERVED_SIGNATURES in metadata:
            reasons = messages.StringValue()
            metadata[UNSERVED_SIGNATURES].Unpack(reasons)
            unserved = json.loads(reasons.value)
        return VersionSignatures(served=definitions.signature_def, unserved=unserved)

    def _forget(self) -> None:
        serving = {route.instance for model in self._router.models().values() for route in model.versions}
        self._known = {instance: known for instance, known in self._known.items() if instance in serving}


class _WorkerGone(Exception):
    """A worker ended between a look at the routing table and a question about it."""
