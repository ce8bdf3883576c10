"""Every error a user of Corelane can meet.

    CorelaneError
    ├── ManifestError         the manifest is not what it should be; names lines
    ├── LoadError             a model version cannot be loaded
    │   └── EngineMissing     ... because its engine is not installed
    ├── StartError            the server cannot start: a port in use, a folder it may not write
    ├── InvalidMessage        a process of the server says to another what is no message
    ├── InvalidAddress        a client is to call what is no address
    ├── ClientClosed          a client is to call after it was closed
    ├── ControlError          the running server cannot be reached, or refused an operator's command
    └── RequestError          a request gets this instead of an answer
        ├── InvalidRequest    its bytes, inputs or names do not fit the model
        │   ├── TooLarge      it is larger than a message may be
        │   └── OutOfRange    the model says so of its values
        ├── FailedPrecondition  it fits, but not this model or not now
        ├── NotFound          the model misses something that the request, or its graph, names
        │   └── ModelNotFound   no such model or version is being served
        ├── Overloaded        the queue of the version is full
        │   └── OutOfMemory   ... or there is no memory to run it
        ├── DeadlinePassed    the deadline, or the time allowed in the queue, passed before it ran
        ├── Cancelled         the client hung up
        ├── Unavailable       the version is loading or restarting, or the server is stopping
        ├── ModelsNotAvailable  models that a client asked to load did not become available
        ├── NotSupported      the server does not offer this call
        │   └── FixedSetting    ... since the manifest or the environment sets what it would change
        ├── Unauthenticated   the caller does not say who it is, or cannot prove it
        ├── PermissionRefused  the caller may not do this
        └── EngineFailed      the engine could not run a valid request

They import no gRPC: a RequestError has the name of the code and the HTTP status that it stands for on the wire, and
`corelane.processor.wire.status` turns those into gRPC's own and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class CorelaneError(Exception):
    """Base of all errors that are the user's to see; `str(error)` says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestProblem:
    """One fault of a manifest. `line` and `column` count from 1 and are None where the whole file is at fault; `key` is
    the dotted key at fault, empty for none; `excerpt` is the line with a caret under the place, empty for none."""

    source: str
    sentence: str
    line: int | None = None
    column: int | None = None
    key: str = ""
    excerpt: str = ""

    @property
    def place(self) -> str:
        """As compilers write it: file:line:column."""
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"

    def __str__(self) -> str:
        """On one line, without the excerpt."""
        return f"{self.place}: {self.key}: {self.sentence}" if self.key else f"{self.place}: {self.sentence}"


class ManifestError(CorelaneError):
    """The manifest is invalid; its text has a line for each fault."""

    def __init__(self, faults: Sequence[ManifestProblem]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)

    @property
    def problems(self) -> list[str]:
        """A line for each fault, without excerpts."""
        return [str(fault) for fault in self.faults]

    def explained(self) -> str:
        """The faults with the lines that they are about, for terminals."""
        return "\n".join(part for fault in self.faults for part in (str(fault), fault.excerpt) if part)


class LoadError(CorelaneError):
    """A model version cannot be loaded."""


class EngineMissing(LoadError):
    """The engine of a version is not installed."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"engine {engine} is not installed: pip install 'corelane[{engine}]'")


class StartError(CorelaneError):
    """The server cannot start."""


class InvalidMessage(CorelaneError):
    """A process of the server says to another what is no message, or has no meaning there."""


class InvalidAddress(CorelaneError, ValueError):
    """A client is to call what is no address of a server."""


class ClientClosed(CorelaneError):
    """A client is to call after it was closed."""


class ControlError(CorelaneError):
    """The running server cannot be reached, or it refused a command."""


class RequestError(CorelaneError):
    """A request that gets an error for an answer. `grpc_code` is the name of its gRPC code, `http_status` what REST
    answers with; these are what TensorFlow Serving maps them to."""

    grpc_code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500


class InvalidRequest(RequestError):
    """The request does not fit the model."""

    grpc_code = "INVALID_ARGUMENT"
    http_status = 400


class TooLarge(InvalidRequest):
    """The request is larger than a message may be."""

    http_status = 413


class OutOfRange(InvalidRequest):
    """The model finds a value past the range it has."""

    grpc_code = "OUT_OF_RANGE"
    http_status = 400


class FailedPrecondition(RequestError):
    """The request is well formed, but the model or its state does not allow it."""

    grpc_code = "FAILED_PRECONDITION"
    http_status = 400


class NotFound(RequestError):
    """The model misses something that the request, or its own graph, names."""

    grpc_code = "NOT_FOUND"
    http_status = 404


class ModelNotFound(NotFound):
    """No such model or version is being served."""


class Overloaded(RequestError):
    """The queue of the version is full."""

    grpc_code = "RESOURCE_EXHAUSTED"
    http_status = 429


class OutOfMemory(Overloaded):
    """There is no memory to run the request; a smaller one may fit."""


class DeadlinePassed(RequestError):
    """The request's time was over before it ran."""

    grpc_code = "DEADLINE_EXCEEDED"
    http_status = 504


class Cancelled(RequestError):
    """The client hung up."""

    grpc_code = "CANCELLED"
    http_status = 499


class Unavailable(RequestError):
    """The version cannot answer at this moment; the call may be tried again."""

    grpc_code = "UNAVAILABLE"
    http_status = 503


class ModelsNotAvailable(RequestError):
    """Models that a client asked the server to load did not become available."""

    grpc_code = "UNKNOWN"
    http_status = 500


class NotSupported(RequestError):
    """The server does not offer this call."""

    grpc_code = "UNIMPLEMENTED"
    http_status = 501


class FixedSetting(NotSupported):
    """A client would change what the manifest or the environment sets."""

    http_status = 400


class Unauthenticated(RequestError):
    """The caller does not say who it is, or cannot prove it."""

    grpc_code = "UNAUTHENTICATED"
    http_status = 401


class PermissionRefused(RequestError):
    """The caller may not do this."""

    grpc_code = "PERMISSION_DENIED"
    http_status = 403


class EngineFailed(RequestError):
    """The engine failed on a request that fits the signature."""

    grpc_code = "INTERNAL"
    http_status = 500
