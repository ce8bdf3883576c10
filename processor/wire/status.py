"""The one place where errors become gRPC and HTTP codes, and codes become errors again."""

import grpc

from processor import errors

_CODES: dict[type[errors.RequestError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ModelsNotAvailable: grpc.StatusCode.UNKNOWN,
    errors.NotSupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.EngineFailed: grpc.StatusCode.INTERNAL,
}
# gRPC's codes by number, as metrics and REST name them.
CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_ERRORS = {code: error for error, code in _CODES.items()}
_ERRORS_BY_NUMBER = {code.value[0]: error for code, error in _ERRORS.items()}

# As TensorFlow Serving maps gRPC's codes.
_HTTP_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC code of an error; INTERNAL for one that is not a RequestError."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def http_code_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for one that is nobody's request's fault."""
    return 413 if isinstance(error, errors.TooLarge) else _HTTP_CODES.get(code_of(error), 500)


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
