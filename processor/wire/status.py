"""The one place where errors become gRPC and HTTP codes and text, and codes become errors again."""

import grpc

from corelane.processor import errors

# gRPC's codes by number, as metrics and REST name them.
CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
# What an error's text may cost on the wire. gRPC sends it among the trailing metadata, of which clients take 8 KiB.
MESSAGE_COST_MAX = 7 * 1024
_TAIL_COST = MESSAGE_COST_MAX // 4
_NOTE_COST = 64
# What a code was: several errors may share one.
_KINDS: tuple[type[errors.RequestError], ...] = (
    errors.InvalidRequest,
    errors.OutOfRange,
    errors.FailedPrecondition,
    errors.ModelNotFound,
    errors.Overloaded,
    errors.DeadlinePassed,
    errors.Cancelled,
    errors.Unavailable,
    errors.ModelsNotAvailable,
    errors.NotSupported,
    errors.Unauthenticated,
    errors.PermissionRefused,
    errors.EngineFailed,
)
_ERRORS = {grpc.StatusCode[kind.grpc_code]: kind for kind in _KINDS}
# Numbers come from workers, and there is a model.
_ERRORS_BY_NUMBER = {code.value[0]: error for code, error in _ERRORS.items()} | {5: errors.NotFound}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC code of an error; INTERNAL for one that is not a RequestError."""
    return grpc.StatusCode[error.grpc_code] if isinstance(error, errors.RequestError) else grpc.StatusCode.INTERNAL


def http_code_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for one that is nobody's request's fault."""
    return error.http_status if isinstance(error, errors.RequestError) else 500


def message_of(error: BaseException) -> str:
    """The text of an error as it leaves the server, short enough for every protocol.

    Errors quote clients' words, which may be long, and costly to send: gRPC makes three bytes of a byte that is not
    printable ASCII, JSON up to six. Of a text that costs over MESSAGE_COST_MAX the beginning and the end stay, with a
    note of how much was cut between them."""
    text = str(error)
    if not isinstance(error, errors.RequestError):
        text = f"internal error: {type(error).__name__}: {text}"
    if len(text) * _COST_MAX <= MESSAGE_COST_MAX:
        return _sendable(text)
    head = _fitting(text, MESSAGE_COST_MAX)
    if head == len(text):
        return _sendable(text)
    head = _fitting(text, MESSAGE_COST_MAX - _TAIL_COST - _NOTE_COST)
    tail = len(text) - _fitting(text[: -_TAIL_COST - 1 : -1], _TAIL_COST)
    return _sendable(f"{text[:head]} ... ({tail - head} characters cut) ... {text[tail:]}")


def _sendable(text: str) -> str:
    # Halves of surrogate pairs, which file names may bring, have no UTF-8.
    return text.encode(errors="replace").decode()


def _fitting(text: str, cost_max: int) -> int:
    """How many characters from the beginning cost no more than this."""
    cost = 0
    for index, character in enumerate(text):
        cost += _cost(character)
        if cost > cost_max:
            return index
    return len(text)


_COST_MAX = 12  # of a character


def _cost(character: str) -> int:
    """The bytes that a character takes, in percent-encoding or in JSON, whichever are more."""
    if character in '"\\':
        return 2
    if " " <= character <= "~" and character != "%":
        return 1
    code = ord(character)
    return 6 if code < 0x20 else 3 if code < 0x80 else 6 if code < 0x800 else 9 if code < 0x10000 else _COST_MAX


def number_of(error: BaseException) -> int:
    return int(code_of(error).value[0])


def error_of_number(number: int, message: str) -> errors.RequestError:
    """The error that `number_of` gave this number."""
    return _ERRORS_BY_NUMBER.get(number, errors.EngineFailed)(message)


def error_of_call(error: grpc.RpcError) -> errors.RequestError:
    """The error a client raises for a failed call."""
    # grpcio raises objects that are both the error and the finished call.
    code, details = error.code(), error.details()
    return _ERRORS.get(code, errors.EngineFailed)(details or code.name)
