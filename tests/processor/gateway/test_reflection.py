"""Server reflection by the protocol: every symbol that grpcurl may describe, and answers for those that are none."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support import onnx_models
from tests.support.server import Server, serving

Request = reflection_pb2.ServerReflectionRequest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    onnx_models.write_scale(folder / "scale/1", 1)
    with serving(folder, "models: [{name: scale, path: scale}]") as running:
        yield running


def ask(server: Server, requests: list[Request]) -> list[reflection_pb2.ServerReflectionResponse]:
    with grpc.insecure_channel(server.grpc) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return list(stub.ServerReflectionInfo(iter(requests), timeout=60))


def files_of(response: reflection_pb2.ServerReflectionResponse) -> list[descriptor_pb2.FileDescriptorProto]:
    data = response.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(one) for one in data]


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("tensorflow.serving.PredictionService", "prediction_service.proto"),
        ("tensorflow.serving.PredictionService.Predict", "prediction_service.proto"),
        ("tensorflow.serving.ModelService.GetModelStatus", "model_service.proto"),
        ("inference.GRPCInferenceService.ModelInfer", "open_inference.proto"),
        ("inference.ModelInferRequest.InferInputTensor", "open_inference.proto"),
        ("inference.ModelInferRequest.InferInputTensor.datatype", "open_inference.proto"),
        ("inference.ModelInferRequest.InferInputTensor.ParametersEntry", "open_inference.proto"),
        ("inference.InferParameter.parameter_choice", "open_inference.proto"),
        ("tensorflow.serving.PredictRequest.inputs", "prediction_service.proto"),
        ("tensorflow.serving.ModelVersionStatus.State", "model_service.proto"),
        ("tensorflow.serving.ModelVersionStatus.AVAILABLE", "model_service.proto"),
        ("tensorflow.DT_FLOAT", "tensor.proto"),
        ("tensorflow.DataType.DT_FLOAT", "tensor.proto"),
        (".tensorflow.TensorProto.dtype", "tensor.proto"),
        ("google.protobuf.Any.type_url", "any.proto"),
        ("grpc.health.v1.Health.Check", "health.proto"),
        ("grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo", "reflection.proto"),
    ],
)
def test_symbols(server: Server, symbol: str, file: str) -> None:
    (response,) = ask(server, [Request(file_containing_symbol=symbol)])
    first, *others = files_of(response)
    assert first.name.endswith(file), [one.name for one in (first, *others)]
    names = {one.name for one in (first, *others)}
    assert all(names.issuperset(one.dependency) for one in (first, *others)), "what a file uses comes along"


def test_every_symbol_of_every_served_file(server: Server) -> None:
    (listing,) = ask(server, [Request(list_services="")])
    services = [one.name for one in listing.list_services_response.service]
    assert len(services) == 5
    files = {}
    for response in ask(server, [Request(file_containing_symbol=name) for name in services]):
        files.update({file.name: file for file in files_of(response)})
    symbols = []
    for file in files.values():
        scope = f"{file.package}."
        nested = [(scope, message) for message in file.message_type]
        while nested:
            outer, message = nested.pop()
            inner = f"{outer}{message.name}."
            symbols += [inner[:-1], *(inner + field.name for field in message.field)]
            symbols += [inner + value.name for enum in message.enum_type for value in enum.value]
            nested += [(inner, one) for one in message.nested_type]
        for enum in file.enum_type:
            symbols += [scope + enum.name, *(scope + value.name for value in enum.value)]
        for service in file.service:
            symbols += [f"{scope}{service.name}.{method.name}" for method in service.method]
    assert len(symbols) > 400
    responses = ask(server, [Request(file_containing_symbol=symbol) for symbol in symbols])
    assert [symbol for symbol, one in zip(symbols, responses, strict=True) if not files_of(one)] == []


def test_what_is_not_there(server: Server) -> None:
    extension = reflection_pb2.ExtensionRequest(containing_type="inference.InferParameter", extension_number=100)
    nowhere = reflection_pb2.ExtensionRequest(containing_type="no.Such", extension_number=1)
    requests = [
        Request(file_containing_symbol="tensorflow.serving.PredictionService.Train"),
        Request(file_containing_symbol="inference"),
        Request(file_containing_symbol=""),
        Request(file_containing_symbol="x" * 100_000),
        Request(file_by_filename="no.proto"),
        Request(file_containing_extension=extension),
        Request(file_containing_extension=nowhere),
        Request(all_extension_numbers_of_type="no.Such"),
    ]
    for response in ask(server, requests):
        assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    last, empty = ask(server, [Request(all_extension_numbers_of_type="inference.InferParameter"), Request()])
    assert list(last.all_extension_numbers_response.extension_number) == []
    assert empty.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
