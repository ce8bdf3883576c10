"""What both clients do, without doing it: generators that yield calls and pauses, and return what the user gets.

A driver (`Client`, `AsyncClient`) makes each `Call` and sends its answer back, or throws the grpc.RpcError that it met;
it waits for each `Pause`. So requests, retries and answers have one body, which neither blocks nor awaits."""

import itertools
import random
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import grpc
import numpy as np

from corelane.client.connection import (
    ANSWER_BYTES_MAX,
    Connection,
    Metadata,
    checked_timeout,
    metadata_pairs,
)
from corelane.client.fitting import Input, as_numpy_makes_it, fitted
from corelane.client.retries import pause_s
from corelane.client.tables import columns_of
from corelane.processor.errors import Cancelled, InvalidRequest, NotSupported, RequestError, Unavailable
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import error_of_call
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.processor.wire.version_numbers import parse_version

_PREDICTION = "/tensorflow.serving.PredictionService/"
PREDICT = _PREDICTION + "Predict"
METADATA = _PREDICTION + "GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
# The methods, and the message that each answers with.
ANSWERS: dict[str, Any] = {
    PREDICT: messages.PredictResponse,
    METADATA: messages.GetModelMetadataResponse,
    STATUS: messages.GetModelStatusResponse,
}
_SIGNATURES_MAX = 1000


def methods_over(channel: Any) -> dict[str, Any]:
    """What calls each method over a channel of `grpc` or of `grpc.aio`."""
    return {
        path: channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        for path, answer in ANSWERS.items()
    }


# How gRPC's own UNAVAILABLE begins, where no server has said anything.
_NO_SERVER = (
    "failed to connect",
    "errors resolving",
    "DNS resolution failed",
    "Socket closed",
    "Connection ",
    "recvmsg",
)

T = TypeVar("T")
Description = dict[str, tuple[str, list[int] | None]]
Signatures = dict[str, dict[str, Description]]
Target = tuple[str, int | None, str | None]


class CallOptions(TypedDict, total=False):
    """What every call takes: at most one of `version` and `label`, neither follows the server's traffic split;
    `metadata` is gRPC metadata to send along; `timeout_s` is for all tries together."""

    version: int | None
    label: str | None
    metadata: Metadata
    timeout_s: float | None


class PredictOptions(CallOptions, total=False):
    """`outputs` names the outputs to send back, all by default; `key` is what a sticky split goes by."""

    signature: str
    outputs: Iterable[str]
    key: str | int | None


class StatusOptions(TypedDict, total=False):
    metadata: Metadata
    timeout_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    method: str
    request: Any
    timeout_s: float | None
    metadata: tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    seconds: float


Steps = Generator[Call | Pause, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sending:
    """What all tries of one call share."""

    metadata: tuple[tuple[str, str | bytes], ...]
    end_s: float | None

    def remaining_s(self) -> float | None:
        return None if self.end_s is None else max(0.0, self.end_s - time.monotonic())


class Exchange:
    """The calls over one connection, and the signatures that it has seen.

    Thread safety: all of it; the table of signatures is replaced by single operations, and may be fetched twice."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._signatures: dict[Target, Signatures] = {}

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Iterable[str] = (),
        key: str | int | None = None,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> Steps[tuple[dict[str, np.ndarray], int]]:
        """Returns the outputs by name, and the version that answered."""
        request = messages.PredictRequest()
        _fill_spec(request.model_spec, model, version, label)
        request.model_spec.signature_name = signature
        request.output_filter.extend([outputs] if isinstance(outputs, str) else outputs)
        columns = columns_of(inputs)
        sending = self._sending(timeout_s, metadata, key)
        target = (model, version, label)
        name = signature or DEFAULT_SIGNATURE
        if not self.connection.fit:
            _fill_inputs(request, {alias: as_numpy_makes_it(alias, value) for alias, value in columns.items()})
            return _outputs(ANSWER_BYTES_MAX, (yield from self._call(PREDICT, request, sending)))

        # A signature that was seen earlier may be out of date: whatever is refused by it is tried by a new one.
        is_new = target not in self._signatures
        specs = yield from self._inputs(target, name, sending, fetch=is_new)
        if not is_new and not columns.keys() <= specs.keys():
            specs, is_new = (yield from self._inputs(target, name, sending, fetch=True)), True
        try:
            _fill_inputs(request, _fitted(columns, specs))
            response = yield from self._call(PREDICT, request, sending)
        except InvalidRequest:
            if is_new:
                raise
            newer = yield from self._inputs(target, name, sending, fetch=True)
            if newer == specs:
                raise
            _fill_inputs(request, _fitted(columns, newer))
            response = yield from self._call(PREDICT, request, sending)
        return _outputs(ANSWER_BYTES_MAX, response)

    def signatures(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> Steps[Signatures]:
        """Fetches the signatures anew."""
        return (yield from self._fetch((model, version, label), self._sending(timeout_s, metadata)))

    def status(self, model: str, *, metadata: Metadata = (), timeout_s: float | None = None) -> Steps[dict[int, str]]:
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        response = yield from self._call(STATUS, request, self._sending(timeout_s, metadata))
        states = response.DESCRIPTOR.fields_by_name["model_version_status"].message_type.enum_types_by_name["State"]
        return {item.version: states.values_by_number[item.state].name for item in response.model_version_status}

    def _inputs(self, target: Target, signature: str, sending: _Sending, *, fetch: bool) -> Steps[dict[str, Input]]:
        """The inputs of a signature; none of one that is not known, which the server will say."""
        if fetch:
            try:
                yield from self._fetch(target, sending)
            except NotSupported:
                return {}
        inputs = self._signatures.get(target, {}).get(signature, {}).get("inputs", {})
        return {
            name: Input(name=name, dtype=dtype, shape=None if shape is None else tuple(shape))
            for name, (dtype, shape) in inputs.items()
        }

    def _fetch(self, target: Target, sending: _Sending) -> Steps[Signatures]:
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_spec(request.model_spec, *target)
        response = yield from self._call(METADATA, request, sending)
        definitions = messages.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        specs = {
            name: {"inputs": _describe(definition.inputs), "outputs": _describe(definition.outputs)}
            for name, definition in sorted(definitions.signature_def.items())
        }
        if len(self._signatures) >= _SIGNATURES_MAX:
            self._signatures = {}
        self._signatures[target] = specs
        return specs

    def _sending(self, timeout_s: float | None, metadata: Metadata, key: str | int | None = None) -> _Sending:
        pairs = self.connection.metadata + metadata_pairs(metadata)
        if key is not None:
            if self.connection.sticky_key is None:
                raise InvalidRequest(
                    'key= needs the name that the manifest has as `sticky_key`: Client(..., sticky_key="user-id")'
                )
            pairs += metadata_pairs({self.connection.sticky_key: str(key)})
        timeout_s = self.connection.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        return _Sending(metadata=pairs, end_s=None if timeout_s is None else time.monotonic() + timeout_s)

    def _call(self, method: str, request: Any, sending: _Sending) -> Steps[Any]:
        """One answer, after as many tries as are worth it."""
        for failures in itertools.count(1):
            remaining_s = sending.remaining_s()
            try:
                return (yield Call(method=method, request=request, timeout_s=remaining_s, metadata=sending.metadata))
            except grpc.RpcError as error:
                failure = self._failure(error)
            pause = pause_s(
                failure,
                failures=failures,
                retries=self.connection.retries,
                remaining_s=sending.remaining_s(),
                draw=random.random(),
            )
            if pause is None:
                raise failure
            yield Pause(seconds=pause)
        raise AssertionError("unreachable")

    def _failure(self, error: grpc.RpcError) -> RequestError:
        failure = error_of_call(error)
        if isinstance(failure, Cancelled):
            # Nobody here cancels: gRPC's server ends so the calls that it has not yet taken when it stops.
            return Unavailable("the server stopped before it took the call")
        if isinstance(failure, Unavailable) and str(failure).startswith(_NO_SERVER):
            address = self.connection.address
            hint = f"is `corelane serve` running at {address}?"
            if "HTTP/2" in str(failure) or "SSL" in str(failure).upper():
                hint += " is that its gRPC port, and is it by TLS on both sides?"
            return Unavailable(f"no answer from {address}; {hint} ({failure})")
        return failure


def _is_unicode(text: str) -> bool:
    """Without halves of characters, which UTF-8 has none of."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fill_spec(spec: Any, model: str, version: int | None, label: str | None) -> None:
    if version is not None and label is not None:
        raise InvalidRequest("name a version or a label, not both")
    if not isinstance(model, str) or not _is_unicode(model):
        raise InvalidRequest(f"a model's name is text, not {model!r}")
    spec.name = model
    if version is not None:
        spec.version.value = parse_version(str(version))
    if label is not None:
        spec.version_label = label


def _fitted(columns: Mapping[str, Any], specs: Mapping[str, Input]) -> dict[str, np.ndarray]:
    return {
        name: fitted(value, specs[name]) if name in specs else as_numpy_makes_it(name, value)
        for name, value in columns.items()
    }


def _fill_inputs(request: Any, arrays: Mapping[str, np.ndarray]) -> None:
    request.ClearField("inputs")
    for name, array in arrays.items():
        try:
            tensors.encode(array, request.inputs[name], as_content=True)
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f'input "{name}": {error}') from error


def _outputs(bytes_max: int, response: Any) -> tuple[dict[str, np.ndarray], int]:
    arrays = {name: tensors.decode(name, proto, bytes_max=bytes_max) for name, proto in response.outputs.items()}
    return arrays, response.model_spec.version.value


def _describe(infos: Any) -> Description:
    return {
        name: (
            tensors.type_name(info.dtype),
            None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim],
        )
        for name, info in sorted(infos.items())
    }
