"""The messages of TensorFlow Serving's API and of the Open Inference Protocol, in a descriptor pool of their own.

TensorFlow and Triton's client register files that define the same names in protobuf's default pool; a private pool lets
all live in one process. The .proto files beside this module are compiled to `descriptors.binpb` when the package is
built.
"""

from importlib import resources
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.message import DecodeError, Message

from corelane.processor.errors import InvalidRequest


def _load_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for well_known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files("corelane.processor.wire").joinpath("descriptors.binpb").read_bytes())
    waiting = list(files.file)
    added = {any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name}
    while waiting:
        ready = [file for file in waiting if added.issuperset(file.dependency)]
        assert ready, "the descriptor set lacks a dependency"
        for file in ready:
            pool.Add(file)
            added.add(file.name)
            waiting.remove(file)
    return pool


POOL = _load_pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


StringValue = _message("google.protobuf.StringValue")
TensorProto = _message("tensorflow.TensorProto")
TensorShapeProto = _message("tensorflow.TensorShapeProto")
MetaGraphDef = _message("tensorflow.MetaGraphDef")
SavedModel = _message("tensorflow.SavedModel")
ConfigProto = _message("tensorflow.ConfigProto")
GraphDef = _message("tensorflow.GraphDef")
OpList = _message("tensorflow.OpList")
Example = _message("tensorflow.Example")
ModelSpec = _message("tensorflow.serving.ModelSpec")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
PredictionLog = _message("tensorflow.serving.PredictionLog")
ClassificationRequest = _message("tensorflow.serving.ClassificationRequest")
ClassificationResponse = _message("tensorflow.serving.ClassificationResponse")
RegressionRequest = _message("tensorflow.serving.RegressionRequest")
RegressionResponse = _message("tensorflow.serving.RegressionResponse")
MultiInferenceRequest = _message("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse = _message("tensorflow.serving.MultiInferenceResponse")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
MonitoringConfig = _message("tensorflow.serving.MonitoringConfig")
SSLConfig = _message("tensorflow.serving.SSLConfig")
BatchingParameters = _message("tensorflow.serving.BatchingParameters")
ReloadConfigRequest = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")

OnnxModel = _message("onnx.ModelProto")

ServerLiveResponse = _message("inference.ServerLiveResponse")
ServerReadyResponse = _message("inference.ServerReadyResponse")
ModelReadyRequest = _message("inference.ModelReadyRequest")
ModelReadyResponse = _message("inference.ModelReadyResponse")
ServerMetadataResponse = _message("inference.ServerMetadataResponse")
ModelMetadataRequest = _message("inference.ModelMetadataRequest")
ModelMetadataResponse = _message("inference.ModelMetadataResponse")
ModelInferRequest = _message("inference.ModelInferRequest")
ModelInferResponse = _message("inference.ModelInferResponse")
RepositoryIndexRequest = _message("inference.RepositoryIndexRequest")
RepositoryIndexResponse = _message("inference.RepositoryIndexResponse")
RepositoryModelLoadRequest = _message("inference.RepositoryModelLoadRequest")
RepositoryModelLoadResponse = _message("inference.RepositoryModelLoadResponse")
RepositoryModelUnloadRequest = _message("inference.RepositoryModelUnloadRequest")
RepositoryModelUnloadResponse = _message("inference.RepositoryModelUnloadResponse")
ModelConfigRequest = _message("inference.ModelConfigRequest")
ModelConfigResponse = _message("inference.ModelConfigResponse")
ModelStatisticsRequest = _message("inference.ModelStatisticsRequest")
ModelStatisticsResponse = _message("inference.ModelStatisticsResponse")
TraceSettingRequest = _message("inference.TraceSettingRequest")
TraceSettingResponse = _message("inference.TraceSettingResponse")
LogSettingsRequest = _message("inference.LogSettingsRequest")
LogSettingsResponse = _message("inference.LogSettingsResponse")


def parse(message_class: Any, data: bytes) -> Any:
    """A message from its bytes; InvalidRequest if they are not one."""
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"request is not a {message_class.DESCRIPTOR.full_name}: {error}") from error


__all__ = ["POOL", "DecodeError", "Message", "parse"]
