"""The interface that every engine has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from processor.tensors import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What a version's manifest entry says to its engine."""

    sessions: int = 1
    threads_per_session: int = 1
    precision: str = "auto"
    op_libraries: tuple[str, ...] = ()


class Engine(ABC):
    """One loaded model version.

    An engine is made by `load`, asked for its signatures, then run from many session threads at once, and unloaded when
    no session runs. Arrays of DT_STRING hold bytes. An engine checks nothing that `processor.worker.validation` has
    checked before it: inputs are complete, of the right dtype, and fit the signature's shape.
    """

    name: str

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


class BytesEngine(Engine):
    """An engine that can also take a PredictRequest's bytes to its response's, without Python's lock."""

    @abstractmethod
    def identify(self, model: str, version: int, *, tensor_bytes_max: int, response_bytes_max: int) -> None:
        """What responses say of themselves, and how many bytes a request's tensors and a response may take. Before the
        first `answer`."""

    @abstractmethod
    def answer(self, session: Any, request: bytes) -> bytes | None:
        """The serialized PredictResponse; None if the request does not fit in some way, and whoever has the words for
        it should take it apart. Errors as `run` has them."""
