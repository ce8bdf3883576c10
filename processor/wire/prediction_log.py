"""Calls as records: TensorFlow Serving's PredictionLog, which its warm-up and ours read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corelane.processor.channel.methods import Method
from corelane.processor.wire import kserve_tensors, messages, records, tensors
from corelane.processor.wire.version_numbers import version_number

# The field of a PredictionLog for each call, and the method that it is of.
FIELDS = {
    Method.CLASSIFY: "classify_log",
    Method.REGRESS: "regress_log",
    Method.MULTI_INFERENCE: "multi_inference_log",
    Method.PREDICT: "predict_log",
}
_METHODS = {field: method for method, field in FIELDS.items()}


def to_log(method: Method, request: bytes, response: bytes, time_s: int) -> bytes | None:
    """A serialized PredictionLog of a call; one of KServe's becomes a Predict. None for one that has no place in it."""
    log = messages.PredictionLog()
    log.log_metadata.timestamp_secs = time_s
    if method is Method.INFER:
        _from_infer(request, response, log.predict_log)
    elif method in FIELDS:
        entry = getattr(log, FIELDS[method])
        entry.request.MergeFromString(request)
        entry.response.MergeFromString(response)
    else:
        return None
    entry = getattr(log, log.WhichOneof("log_type"))
    if method is not Method.MULTI_INFERENCE:
        log.log_metadata.model_spec.CopyFrom(entry.response.model_spec)
    data: bytes = log.SerializeToString()
    return data


def read_logs(path: Path) -> Iterator[tuple[Method, Any, Any]]:
    """(method, request, response or None) of each record. ValueError where the file is damaged or no such file; OSError
    if it cannot be read."""
    for data in records.read(path):
        try:
            log = messages.PredictionLog.FromString(data)
        except messages.DecodeError as error:
            raise ValueError(f"a record is no PredictionLog: {error}") from error
        field = log.WhichOneof("log_type")
        if field is None:
            continue
        entry = getattr(log, field)
        yield _METHODS[field], entry.request, entry.response if entry.HasField("response") else None


def _from_infer(request: bytes, response: bytes, entry: Any) -> None:
    asked = messages.ModelInferRequest.FromString(request)
    answered = messages.ModelInferResponse.FromString(response)
    entry.request.model_spec.name = asked.model_name
    if "signature_name" in asked.parameters:
        entry.request.model_spec.signature_name = asked.parameters["signature_name"].string_param
    version = version_number(asked.model_version)
    if version is not None:
        entry.request.model_spec.version.value = version
    entry.request.output_filter.extend(output.name for output in asked.outputs)
    for name, array in kserve_tensors.decode_inputs(asked).items():
        tensors.encode(array, entry.request.inputs[name], as_content=True)
    spec = entry.response.model_spec
    spec.name, spec.version.value = answered.model_name, int(answered.model_version)
    for output, raw in zip(answered.outputs, answered.raw_output_contents, strict=True):
        array = kserve_tensors.from_raw(output.name, output.datatype, output.shape, raw)
        tensors.encode(array, entry.response.outputs[output.name], as_content=True)
