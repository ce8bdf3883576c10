"""The signatures of the versions that a gateway knows: asked of a worker once, then remembered."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processor._native import Cancellation
from processor.call import Call
from processor.gateway.router import Router
from processor.methods import Assignment, Entry, Method
from processor.routes import VersionRoute
from processor.served import UNSERVED_SIGNATURES, served_name
from processor.wire import messages

_FIELD = "signature_def"


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

    def __init__(self, router: Router, timeout_s: float) -> None:
        self._router = router
        self._timeout_ns = int(timeout_s * 1e9)
        self._lock = threading.Lock()
        self._known: dict[int, VersionSignatures] = {}  # by worker

    def of(
        self, model: str, version: int | None, label: str | None, key: str | None = None, entry: Entry = Entry.GRPC
    ) -> tuple[VersionRoute, Assignment, VersionSignatures]:
        """The version that a call would go to now, why, and its signatures. Raises the errors of a call."""
        route, assignment = self._router.choose(model, version, label, key)
        assert route.instance is not None
        with self._lock:
            known = self._known.get(route.instance)
        if known is None:
            known = self._ask(model, route.version, entry)
            with self._lock:
                self._known[route.instance] = known
                self._forget()
        return route, assignment, known

    def _ask(self, model: str, version: int, entry: Entry) -> VersionSignatures:
        request = messages.GetModelMetadataRequest(metadata_field=[_FIELD])
        request.model_spec.name = model
        request.model_spec.version.value = version
        answer = self._router.call(
            Call(
                method=Method.METADATA,
                model=model,
                version=version,
                request=request.SerializeToString(),
                deadline_ns=time.monotonic_ns() + self._timeout_ns,
                cancellation=Cancellation(),
                entry=entry,
            )
        )
        definitions = messages.SignatureDefMap()
        metadata = messages.parse(messages.GetModelMetadataResponse, answer).metadata
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
