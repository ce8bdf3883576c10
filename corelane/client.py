"""A client in a few lines, without TensorFlow."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike

from processor.errors import Cancelled, InvalidRequest, Unavailable
from processor.tensors import NUMPY_TYPES
from processor.version_numbers import parse_version
from processor.wire import messages, tensors
from processor.wire.status import error_of_call

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_ANSWER_BYTES_MAX = 2**31 - 1


class Client:
    """Calls a Corelane or TensorFlow-Serving server at "host:port".

    Thread safety: every method from any thread. Failed calls raise the errors of `corelane.errors`."""

    def __init__(
        self,
        address: str,
        *,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        api_key: str | None = None,
    ) -> None:
        """With `ca`, the PEM file of the authority that signed the server's certificate, by TLS; `certificate` and
        `key` are this client's own, for mutual TLS. `api_key` may be a JWT."""
        limits = [
            ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
            ("grpc.max_send_message_length", _ANSWER_BYTES_MAX),
        ]
        if ca is None and certificate is None:
            self._channel = grpc.insecure_channel(address, options=limits)
        else:
            root, own_key, own = (None if path is None else Path(path).read_bytes() for path in (ca, key, certificate))
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(root, own_key, own), limits)
        self._metadata_sent = None if api_key is None else [("authorization", f"Bearer {api_key}")]
        self._predict = self._method(_PREDICTION + "Predict", messages.PredictResponse)
        self._metadata = self._method(_PREDICTION + "GetModelMetadata", messages.GetModelMetadataResponse)
        self._status = self._method(_MODEL + "GetModelStatus", messages.GetModelStatusResponse)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The model's outputs by name; strings come as bytes.

        Inputs are arrays or what numpy makes one of; Python's floats and integers become float32 and int64, the types
        that models mostly take. At most one of `version` and `label`; neither follows the server's traffic split."""
        return self.predict_versioned(
            model, inputs, version=version, label=label, signature=signature, outputs=outputs, timeout_s=timeout_s
        )[0]

    def predict_versioned(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> tuple[dict[str, np.ndarray], int]:
        """As `predict`, with the number of the version that answered."""
        request = messages.PredictRequest()
        self._fill_spec(request.model_spec, model, version, label)
        request.model_spec.signature_name = signature
        request.output_filter.extend(outputs)
        for name, value in inputs.items():
            try:
                tensors.encode(_to_array(value), request.inputs[name], as_content=True)
            except ValueError as error:
                raise InvalidRequest(f'input "{name}": {error}') from error
        response = self._call(self._predict, request, timeout_s)
        arrays = {
            name: tensors.decode(name, proto, bytes_max=_ANSWER_BYTES_MAX) for name, proto in response.outputs.items()
        }
        return arrays, response.model_spec.version.value

    def metadata(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> dict[str, dict[str, dict[str, tuple[str, list[int] | None]]]]:
        """The signatures: {signature: {"inputs" | "outputs": {name: (dtype, shape)}}}; shape is None if unknown."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill_spec(request.model_spec, model, version, label)
        definitions = messages.SignatureDefMap()
        self._call(self._metadata, request, timeout_s).metadata["signature_def"].Unpack(definitions)

        def describe(infos: Any) -> dict[str, tuple[str, list[int] | None]]:
            return {
                name: (
                    tensors.type_name(info.dtype),
                    None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim],
                )
                for name, info in sorted(infos.items())
            }

        return {
            name: {"inputs": describe(definition.inputs), "outputs": describe(definition.outputs)}
            for name, definition in sorted(definitions.signature_def.items())
        }

    def status(self, model: str, *, timeout_s: float | None = None) -> dict[int, str]:
        """The state of each version of a model: AVAILABLE, LOADING, ..."""
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        response = self._call(self._status, request, timeout_s)
        states = response.DESCRIPTOR.fields_by_name["model_version_status"].message_type.enum_types_by_name["State"]
        return {item.version: states.values_by_number[item.state].name for item in response.model_version_status}

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _method(self, path: str, response: Any) -> Any:
        return self._channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata_sent)
        except grpc.RpcError as error:
            found = error_of_call(error)
            if isinstance(found, Cancelled):
                # Nobody here cancels: gRPC's server ends so the calls that it has not yet taken when it stops.
                raise Unavailable("the server stopped before it took the call") from None
            raise found from None

    def _fill_spec(self, spec: Any, model: str, version: int | None, label: str | None) -> None:
        if version is not None and label is not None:
            raise InvalidRequest("name a version or a label, not both")
        spec.name = model
        if version is not None:
            spec.version.value = parse_version(str(version))
        if label is not None:
            spec.version_label = label


def _to_array(value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if not isinstance(value, np.ndarray | np.generic):
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype.kind == "i":
            array = array.astype(NUMPY_TYPES["DT_INT64"])
    return array
