"""`python -m tests.support.serving_api`: TensorFlow's own client, in a process of its own.

Reads calls as lines of JSON from standard input and answers each with a line: {"ok": ...} or {"code", "details"}.
Requests are made by tensorflow-serving-api's messages and stubs and `tf.make_tensor_proto`, as its users make them.
"""

import base64
import json
import sys
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.support import raw_arrays

_REQUESTS = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}


def call(address: str, method: str, request: dict[str, Any], inputs: dict[str, Any], timeout_s: float) -> Any:
    """`request` is the message in proto3 JSON; `inputs` are {name: [dtype, values]}, made into TensorProtos."""
    message = json_format.ParseDict(request, _REQUESTS[method]())
    for name, (dtype, values) in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(values, getattr(tf, dtype)))
    with grpc.insecure_channel(address) as channel:
        model = method in ("GetModelStatus", "HandleReloadConfigRequest")
        stub_class = (
            model_service_pb2_grpc.ModelServiceStub if model else prediction_service_pb2_grpc.PredictionServiceStub
        )
        response = getattr(stub_class(channel), method)(message, timeout=timeout_s)
    if method == "Predict":
        return {
            "model": response.model_spec.name,
            "version": response.model_spec.version.value,
            "signature": response.model_spec.signature_name,
            "outputs": {name: _plain(tf.make_ndarray(proto)) for name, proto in response.outputs.items()},
            "content": any(proto.tensor_content for proto in response.outputs.values()),
        }
    if method == "GetModelMetadata":
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return json_format.MessageToDict(signatures, preserving_proto_field_name=True)
    return json_format.MessageToDict(response, preserving_proto_field_name=True)


def round_trip(protos: list[str]) -> list[Any]:
    """What TensorFlow makes of serialized TensorProtos: [dtype, shape, values], or null if it refuses one."""
    found: list[Any] = []
    for data in protos:
        proto = tf.make_tensor_proto(0)
        proto.ParseFromString(base64.b64decode(data))
        try:
            array = tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype)).numpy()
        except (tf.errors.OpError, TypeError):
            found.append(None)
            continue
        if not hasattr(array, "dtype"):
            import numpy as np

            array = np.array(array, object)
        found.append([tf.dtypes.as_dtype(proto.dtype).name, list(array.shape), _plain(array)])
    return found


def build_request(inputs: dict[str, Any]) -> str:
    """The PredictRequest that users make of these arrays, serialized."""
    message = predict_pb2.PredictRequest()
    for name, raw in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(raw_arrays.unpack(raw)))
    return base64.b64encode(message.SerializeToString()).decode()


def read_response(data: str) -> dict[str, Any]:
    """The arrays that users get of a serialized PredictResponse."""
    message = predict_pb2.PredictResponse.FromString(base64.b64decode(data))
    return {name: raw_arrays.pack(tf.make_ndarray(proto)) for name, proto in message.outputs.items()}


def prediction_log(data: str) -> Any:
    """What TensorFlow Serving's own message makes of a record."""
    log = prediction_log_pb2.PredictionLog.FromString(bytes.fromhex(data))
    return json_format.MessageToDict(log, preserving_proto_field_name=True)


def descriptors() -> dict[str, Any]:
    """Every field of the messages of the API: {message: {field: [number, type, repeated]}}."""
    found: dict[str, Any] = {}

    def add(descriptor: Any) -> None:
        if descriptor.full_name in found:
            return
        found[descriptor.full_name] = {f.name: [f.number, f.type, f.is_repeated] for f in descriptor.fields}
        for field in descriptor.fields:
            if field.message_type is not None:
                add(field.message_type)

    for request in _REQUESTS.values():
        add(request.DESCRIPTOR)
    responses = (
        predict_pb2.PredictResponse,
        classification_pb2.ClassificationResponse,
        regression_pb2.RegressionResponse,
        inference_pb2.MultiInferenceResponse,
        get_model_metadata_pb2.GetModelMetadataResponse,
        get_model_metadata_pb2.SignatureDefMap,
        get_model_status_pb2.GetModelStatusResponse,
        model_management_pb2.ReloadConfigResponse,
    )
    for response in responses:
        add(response.DESCRIPTOR)
    return found


def _plain(array: Any) -> Any:
    if array.dtype.kind in "OS":
        flat = [base64.b64encode(bytes(item)).decode() for item in array.ravel().tolist()]
        return {"strings": flat, "shape": list(array.shape)}
    if array.dtype.kind == "c":
        return [[str(value) for value in array.ravel().tolist()], list(array.shape)]
    return array.astype("float32").tolist() if array.dtype.kind not in "biuf" else array.tolist()


def main() -> None:
    actions = {
        "call": call,
        "round_trip": round_trip,
        "prediction_log": prediction_log,
        "build_request": build_request,
        "read_response": read_response,
        "descriptors": descriptors,
    }
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        action, arguments = json.loads(line)
        try:
            answer: Any = {"ok": actions[action](*arguments)}
        except grpc.RpcError as error:
            answer = {"code": error.code().name, "details": error.details()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
