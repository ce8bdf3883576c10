"""Every error a user of Corelane can meet.

    CorelaneError
    ├── ManifestError         the manifest is not what it should be; names lines
    ├── LoadError             a model version cannot be loaded
    │   └── EngineMissing     ... because its engine is not installed
    ├── StartError            the server cannot start: a port in use, a folder it may not write
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
        ├── Unauthenticated   the caller does not say who it is, or cannot prove it
        ├── PermissionRefused  the caller may not do this
        └── EngineFailed      the engine could not run a valid request

None of them knows gRPC; `processor.wire.status` maps them to codes.
"""


class CorelaneError(Exception):
    """Base of all errors that are the user's to see; `str(error)` says what to do."""


class ManifestError(CorelaneError):
    """The manifest is invalid. `problems` has a sentence for each fault, each naming its line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LoadError(CorelaneError):
    """A model version cannot be loaded."""


class EngineMissing(LoadError):
    """The engine of a version is not installed."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"engine {engine} is not installed: pip install 'corelane[{engine}]'")


class StartError(CorelaneError):
    """The server cannot start."""


class ControlError(CorelaneError):
    """The running server cannot be reached, or it refused a command."""


class RequestError(CorelaneError):
    """A request that gets an error for an answer."""


class InvalidRequest(RequestError):
    """The request does not fit the model."""


class TooLarge(InvalidRequest):
    """The request is larger than a message may be."""


class OutOfRange(InvalidRequest):
    """The model finds a value past the range it has."""


class FailedPrecondition(RequestError):
    """The request is well formed, but the model or its state does not allow it."""


class NotFound(RequestError):
    """The model misses something that the request, or its own graph, names."""


class ModelNotFound(NotFound):
    """No such model or version is being served."""


class Overloaded(RequestError):
    """The queue of the version is full."""


class OutOfMemory(Overloaded):
    """There is no memory to run the request; a smaller one may fit."""


class DeadlinePassed(RequestError):
    """The request's time was over before it ran."""


class Cancelled(RequestError):
    """The client hung up."""


class Unavailable(RequestError):
    """The version cannot answer at this moment; the call may be tried again."""


class ModelsNotAvailable(RequestError):
    """Models that a client asked the server to load did not become available."""


class NotSupported(RequestError):
    """The server does not offer this call."""


class Unauthenticated(RequestError):
    """The caller does not say who it is, or cannot prove it."""


class PermissionRefused(RequestError):
    """The caller may not do this."""


class EngineFailed(RequestError):
    """The engine failed on a request that fits the signature."""
