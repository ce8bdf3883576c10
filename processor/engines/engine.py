"""The interface that every engine has."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from corelane.processor._native import Model, ModelSession, PredictResult, PredictSession, PredictSettings
from corelane.processor.errors import EngineFailed
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import error_of_number
from corelane.processor.wire.tensor_types import SERVE_TAGS, Signature

_BYTES_MAX = 2**31 - 1
_UNLIMITED = PredictSettings(
    model="", version=0, tensor_content=True, response_bytes_max=_BYTES_MAX, tensor_bytes_max=_BYTES_MAX
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What a version's manifest entry says to its engine. `precision` is settled before: "bf16"; "int8" for fused
    plans, whose tables then have such rows; anything else for fp32. `tables` are files of their tables in other
    precisions, by name; what is not there the engine makes for itself. `original` gives the SavedModel that a fused
    plan was made of, if the plan does not hold it; LoadError if there is none any more. `batching`: signatures are to
    say whether their requests may run together."""

    sessions: int = 1
    threads_per_session: int = 1
    precision: str = "fp32"
    op_libraries: tuple[str, ...] = ()
    saved_model_tags: tuple[str, ...] = SERVE_TAGS
    tables: Mapping[str, str] = field(default_factory=dict)
    batching: bool = False
    original: Callable[[], Path] | None = None


class Engine(ABC):
    """One loaded model version.

    An engine is made by `load`, asked for its signatures, then run from many session threads at once, and unloaded when
    no session runs. Arrays of DT_STRING hold bytes. An engine checks nothing that `processor.serving.validation` has
    checked before it: inputs are complete and of the right dtype. They fit the signature's shape, too, unless the
    engine takes `any_shape`: then its graph judges, as TensorFlow Serving's does.
    """

    name: str
    any_shape = False
    # Signatures that the version has and this engine cannot serve, each with the reason.
    unserved: Mapping[str, str] = MappingProxyType({})
    # What else of the version is not served, a sentence each, for the log and for `status`.
    notes: Sequence[str] = ()

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, options: EngineOptions) -> "Engine":
        """Reads the version in `folder`. LoadError says what is wrong with it, EngineMissing what to install. The
        calling thread lends its priority to the load; nothing it starts may outlive the load and run requests."""

    @abstractmethod
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature the version offers; the same objects at each call."""

    @abstractmethod
    def make_session(self) -> Any:
        """Scratch state for one session thread. Variables are the engine's, shared by all sessions."""

    @abstractmethod
    def run(
        self, session: Any, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Runs one request on the caller's thread; the arrays returned are the caller's to keep.

        InvalidRequest if the engine finds the values at fault, EngineFailed if it fails by itself."""

    @abstractmethod
    def unload(self) -> None:
        """Releases the model. No session may run afterwards."""


class NativeEngine(Engine):
    """An engine whose model takes a PredictRequest's bytes to its response's in C++, without Python's lock. Sessions
    are the model's; `run` is the same path, for what arrives in another form than a PredictRequest."""

    model: Model

    def make_session(self) -> ModelSession:
        return self.model.make_session()

    def run(
        self, session: ModelSession, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        outputs_of_run = self._run_if_covered(session, signature, inputs, outputs)
        if outputs_of_run is None:
            raise EngineFailed(f"{self.name} cannot take these inputs, or its outputs cannot be sent")
        return outputs_of_run

    def _run_if_covered(
        self, session: ModelSession, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray] | None:
        """What `run` returns; None if the native path refuses."""
        request = messages.PredictRequest(output_filter=outputs)
        request.model_spec.signature_name = signature.name
        for name in signature.inputs:
            tensors.encode(inputs[name], request.inputs[name], as_content=True)
        result, data, code = PredictSession(self.model, session, _UNLIMITED).predict(request.SerializeToString())
        if result is PredictResult.FAILED:
            raise error_of_number(code, data.decode(errors="replace"))
        if result is PredictResult.REFUSED:
            return None
        response = messages.PredictResponse.FromString(data)
        return {name: tensors.decode(name, response.outputs[name], bytes_max=_BYTES_MAX) for name in outputs}
