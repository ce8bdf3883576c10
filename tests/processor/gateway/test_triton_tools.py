"""What Triton's tools ask of models beside calling them: configurations, statistics, trace and log settings; by
Triton's own clients for gRPC and REST."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from corelane.processor.control.gateway_settings import TracesSettings
from corelane.processor.errors import FixedSetting, InvalidRequest
from corelane.processor.gateway.protocols import triton_settings
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.client import PlainClient
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, wait_until

Client = Any  # either of Triton's

COMPUTING = ("compute_input", "compute_infer", "compute_output")
BOTH = pytest.mark.parametrize("protocol", ["grpc", "http"])


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path, batching_models: Path
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    (folder / "empty").mkdir()
    models = [
        f"{{name: tf2, path: {tensorflow_models / 'tf2'}, precision: fp32, engine: tensorflow, sessions: 2}}",
        f"{{name: batched, path: {tensorflow_models / 'tf2'}, engine: tensorflow, batching: {{max_rows: 32}}}}",
        f"{{name: rows, path: {batching_models / 'rows'}, engine: tensorflow, "
        "batching: {max_rows: 16, max_wait_us: 250}}",
        f"{{name: types, path: {tensorflow_models / 'types'}, engine: tensorflow, versions: {{all: true}}}}",
        "{name: scale, path: scale, versions: [{version: 1}, {version: 2, label: canary}]}",
        "{name: empty, path: empty}",
    ]
    host = "host: {gateways: 1, ready: any}\n"
    with serving(folder, f"{host}models: [{', '.join(models)}]", listen=WITH_REST) as running:
        for version in (1, 2):
            running.wait_state("scale", version, "AVAILABLE")
        yield running


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[str], Client]]:
    clients: list[Client] = []

    def made(protocol: str) -> Client:
        kind = triton_grpc if protocol == "grpc" else triton_http
        clients.append(kind.InferenceServerClient(getattr(server, protocol)))
        return clients[-1]

    yield made
    for client in clients:
        client.close()


def plain(found: Any) -> Any:
    """An answer of the gRPC client in the HTTP client's form."""
    if isinstance(found, dict):
        return found
    if isinstance(found, service_pb2.ModelConfigResponse):
        found = found.config
    return triton_plain(found)


def triton_plain(message: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            result[field.name] = {key: triton_plain(item) for key, item in value.items()}
        elif field.message_type is not None:
            result[field.name] = (
                [triton_plain(item) for item in value] if hasattr(value, "add") else triton_plain(value)
            )
        elif field.enum_type is not None:
            result[field.name] = field.enum_type.values_by_number[value].name
        else:
            result[field.name] = list(value) if hasattr(value, "append") else value
    return result


def config_of(client: Client, name: str, version: str = "") -> dict[str, Any]:
    return plain(client.get_model_config(name, version))


def statistics_of(client: Client, name: str = "", version: str = "") -> dict[tuple[str, str], dict[str, Any]]:
    found = plain(client.get_inference_statistics(name, version))
    return {(one["name"], one["version"]): one for one in found["model_stats"]}


def count(found: dict[str, Any], kind: str) -> int:
    return found["inference_stats"].get(kind, {}).get("count", 0)


def ns(found: dict[str, Any], kind: str) -> int:
    return found["inference_stats"].get(kind, {}).get("ns", 0)


@BOTH
def test_configurations(connect: Callable[[str], Client], protocol: str) -> None:
    client = connect(protocol)
    found = config_of(client, "tf2")
    assert (found["name"], found["platform"], found["backend"]) == ("tf2", "corelane", "tensorflow")
    assert found.get("max_batch_size", 0) == 0 and "dynamic_batching" not in found
    assert found["version_policy"] == {"latest": {"num_versions": 1}}
    inputs = {tensor["name"]: (tensor["data_type"], tensor["dims"]) for tensor in found["input"]}
    assert inputs == {"word": ("TYPE_STRING", [-1]), "x": ("TYPE_FP32", [-1, 2])}
    assert {tensor["name"]: tensor["dims"] for tensor in found["output"]} == {"score": [-1], "upper": [-1]}
    assert found["instance_group"][0]["kind"] == "KIND_CPU"
    assert config_of(client, "scale", "1")["version_policy"] == {"specific": {"versions": [1, 2]}}
    assert config_of(client, "types")["version_policy"] == {"all": {}}
    assert config_of(client, "scale", "canary")["backend"] == "onnxruntime"


@BOTH
def test_batching_is_in_the_configuration(connect: Callable[[str], Client], protocol: str) -> None:
    found = config_of(connect(protocol), "rows")
    assert found["max_batch_size"] == 16
    assert found["dynamic_batching"] == {"max_queue_delay_microseconds": 250}
    tensors = {tensor["name"]: tensor["dims"] for tensor in (*found["input"], *found["output"])}
    assert tensors == {"t": [-1, 4], "y": [-1, 4]}, "without the batch"
    found = config_of(connect(protocol), "batched")
    assert found.get("max_batch_size", 0) == 0, "an input that has the batch alone cannot be said in Triton's words"
    assert {tensor["name"]: tensor["dims"] for tensor in found["input"]} == {"word": [-1], "x": [-1, 2]}


def test_configurations_have_every_type(connect: Callable[[str], Client]) -> None:
    found = config_of(connect("http"), "types")
    kinds = {tensor["data_type"] for tensor in found["input"]}
    assert kinds | {"TYPE_INVALID"} == set(model_config_pb2.DataType.DESCRIPTOR.values_by_name)


@BOTH
@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("nothing", "", r"Servable not found for request: Latest\(nothing\)"),
        ("scale", "9", r"Servable not found for request: Specific\(scale, 9\)"),
        ("scale", "beta", "Unrecognized servable version label: beta"),
        ("empty", "", "model empty is still loading|Servable not found for request"),
    ],
)
def test_unknown_models_have_the_errors_of_metadata(
    connect: Callable[[str], Client], protocol: str, model: str, version: str, message: str
) -> None:
    client = connect(protocol)
    told = []
    for question in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match=message) as raised:
            question(model, version)
        told.append((raised.value.status(), raised.value.message()))
    assert told[0] == told[1] == told[2]
    if not version:
        with pytest.raises(InferenceServerException, match=message):
            client.get_trace_settings(model)


@BOTH
def test_statistics_count_what_was_called(server: Server, connect: Callable[[str], Client], protocol: str) -> None:
    client = connect(protocol)
    before = statistics_of(client)
    assert {("tf2", "1"), ("scale", "1"), ("scale", "2"), ("types", "1")} <= before.keys()
    inputs = {"word": [b"a", b"b"], "x": np.ones((2, 2), np.float32)}
    with PlainClient(server.grpc) as caller:
        for _ in range(5):
            caller.predict("tf2", inputs)
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                caller.predict("tf2", {"word": [b"a"]})
        for _ in range(3):
            caller.predict("scale", {"x": [1.0]}, version=1)
    assert ask(server.http, "POST", "/v1/models/scale/versions/1:predict", {"instances": [1.0]}).status == 200
    client.get_model_metadata("tf2")

    def heard() -> bool:
        native = statistics_of(client, "tf2")["tf2", "1"]
        return ns(native, "fail") > ns(before["tf2", "1"], "fail") and native["last_inference"] > 0

    wait_until(heard, "what the gateway counted")
    native, earlier = statistics_of(client, "tf2", "1")["tf2", "1"], before["tf2", "1"]
    assert native["inference_count"] - earlier.get("inference_count", 0) == 5
    assert native["execution_count"] - earlier.get("execution_count", 0) == 5
    for kind in ("success", *COMPUTING):
        assert count(native, kind) - count(earlier, kind) == 5, kind
        assert ns(native, kind) > ns(earlier, kind), kind
    assert count(native, "fail") - count(earlier, "fail") == 2
    assert count(native, "queue") - count(earlier, "queue") == 7
    parts_ns = sum(ns(native, kind) - ns(earlier, kind) for kind in COMPUTING)
    assert 0 < parts_ns < ns(native, "success") - ns(earlier, "success")
    through_python, earlier = statistics_of(client, "scale", "1")["scale", "1"], before["scale", "1"]
    assert through_python["execution_count"] - earlier.get("execution_count", 0) == 4
    for kind in COMPUTING:  # Triton's tools stop where these counts differ
        assert count(through_python, kind) - count(earlier, kind) == 4, kind
    assert ns(through_python, "compute_infer") > ns(earlier, "compute_infer")
    assert ns(through_python, "compute_input") == 0, "it is not timed apart"
    now_ms = wait_until(
        lambda: statistics_of(client, "scale", "1")["scale", "1"].get("last_inference"), "the last call"
    )
    assert 0 <= native["last_inference"] <= now_ms


def test_statistics_of_a_model_are_of_all_its_versions(connect: Callable[[str], Client]) -> None:
    assert statistics_of(connect("grpc"), "scale").keys() == {("scale", "1"), ("scale", "2")}
    assert statistics_of(connect("http"), "scale", "canary").keys() == {("scale", "2")}


def test_executions_of_batches_count_once(server: Server, connect: Callable[[str], Client]) -> None:
    client = connect("grpc")
    inputs = [triton_grpc.InferInput("word", [1], "BYTES"), triton_grpc.InferInput("x", [1, 2], "FP32")]
    inputs[0].set_data_from_numpy(np.array([b"a"], object))
    inputs[1].set_data_from_numpy(np.ones((1, 2), np.float32))
    requests = 40

    def call_at_once(parameters: dict[str, str] | None) -> int:
        """How many of the calls ran under Python's lock."""
        before = server.version("batched", 1)["requests"]["through_python"]
        errors: list[Any] = []
        for _ in range(requests):
            client.async_infer("batched", inputs, lambda result, error: errors.append(error), parameters=parameters)
        wait_until(lambda: len(errors) == requests, "all answers")
        assert errors == [None] * requests
        after: int = server.version("batched", 1)["requests"]["through_python"]
        return after - before

    assert call_at_once(None) == 0
    found = statistics_of(client, "batched")["batched", "1"]
    assert found["inference_count"] == count(found, "compute_infer") == requests
    native = found["execution_count"]
    assert 0 < native <= requests
    # A parameter that only Python reads: nothing is batched.
    assert call_at_once({"content_type": "np"}) == requests
    found = statistics_of(client, "batched")["batched", "1"]
    assert found["inference_count"] == count(found, "compute_infer") == 2 * requests
    assert found["execution_count"] == native + requests


def test_statistics_outlive_workers(server: Server, connect: Callable[[str], Client]) -> None:
    client = connect("grpc")
    with PlainClient(server.grpc) as caller:
        caller.predict("tf2", {"x": 2.0}, signature="scalar")
    before = statistics_of(client, "tf2")["tf2", "1"]
    pid = server.version("tf2", 1)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.version("tf2", 1).get("pid") not in (None, pid), "the next worker")
    server.wait_state("tf2", 1, "AVAILABLE")
    after = statistics_of(client, "tf2")["tf2", "1"]
    for field in ("inference_count", "execution_count", "last_inference"):
        assert after[field] >= before[field], field
    for kind in before["inference_stats"]:
        assert count(after, kind) >= count(before, kind) and ns(after, kind) >= ns(before, kind), kind


def test_a_supervisor_that_does_not_answer_holds_no_threads_of_calls(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(12) as callers:
            path = "/v2/models/scale/versions/1/stats"
            asked = [callers.submit(ask, server.http, "GET", path) for _ in range(12)]
            with PlainClient(server.grpc) as client:
                assert client.predict("scale", {"x": [1.0]}, timeout_s=20)
            answers = [future.result() for future in asked]
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    statuses = Counter(answer.status for answer in answers)
    assert statuses == {503: 8, 429: 4}, answers
    said = {answer.json["error"] for answer in answers}
    assert said == {
        "the supervisor did not answer within 5 s",
        "8 questions for configurations or statistics wait for an answer already",
    }
    wait_until(lambda: ask(server.http, "GET", path).status == 200, "the supervisor")


def test_what_gateways_ask_for_themselves_is_no_clients_call(server: Server) -> None:
    def counted() -> tuple[str, ...]:
        text = ask(server.admin, "GET", "/metrics").body.decode()
        names = ("corelane_requests_total{", "corelane_assignments_total{", "corelane_queue_requests_total{")
        return tuple(line for line in text.splitlines() if line.startswith(names) and 'model="types"' in line)

    before = counted()
    for path in ("/v1/models/types/metadata", "/v2/models/types", "/v2/models/types/config"):
        assert ask(server.http, "GET", path).status == 200
    assert counted() == before


@BOTH
def test_trace_settings(connect: Callable[[str], Client], protocol: str) -> None:
    client = connect(protocol)
    for model in (None, "tf2"):
        level = plain(client.get_trace_settings(model))
        level = level["settings"]["trace_level"]["value"] if protocol == "grpc" else level["trace_level"]
        assert level == ["OFF"]
        for same in ({"trace_level": ["OFF"]}, {"trace_level": "OFF", "trace_count": "-1"}, {"trace_rate": None}, {}):
            client.update_trace_settings(model, same)
        with pytest.raises(InferenceServerException, match=r"trace_level stays OFF: .* listen\.traces") as raised:
            client.update_trace_settings(model, {"trace_level": ["TIMESTAMPS"]})
        assert raised.value.status() == {"grpc": "StatusCode.UNIMPLEMENTED", "http": "400"}[protocol]
        with pytest.raises(InferenceServerException, match="there is no trace setting 'level'; known: trace_file"):
            client.update_trace_settings(model, {"level": "OFF"})


@BOTH
def test_log_settings(connect: Callable[[str], Client], protocol: str) -> None:
    client = connect(protocol)
    found = client.get_log_settings() if protocol == "http" else client.get_log_settings(as_json=True)["settings"]
    assert set(found) == {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"}
    client.update_log_settings({"log_info": True, "log_verbose_level": 0, "log_format": "default"})
    for change in ({"log_verbose_level": 1}, {"log_info": False}, {"log_file": "/tmp/log"}):
        with pytest.raises(InferenceServerException, match=r"stays .* standard error") as raised:
            client.update_log_settings(change)
        assert raised.value.status() == {"grpc": "StatusCode.UNIMPLEMENTED", "http": "400"}[protocol]
    with pytest.raises(InferenceServerException, match="there is no log setting 'log_colour'"):
        client.update_log_settings({"log_colour": True})


def test_trace_settings_of_a_server_that_traces() -> None:
    found = triton_settings.trace_settings(TracesSettings(endpoint="http://x", percent=25.0), {"trace_rate": ["4"]})
    assert (found["trace_level"], found["trace_rate"]) == (("TIMESTAMPS",), ("4",))
    assert triton_settings.trace_settings(TracesSettings(endpoint="http://x", percent=0.0), {})["trace_rate"] == ("0",)
    with pytest.raises(FixedSetting, match="trace_level stays TIMESTAMPS"):
        triton_settings.trace_settings(TracesSettings(endpoint="http://x", percent=25.0), {"trace_level": ["OFF"]})


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v2/trace/setting", b"[1]", "JSON"),
        ("/v2/trace/setting", b"{", "JSON"),
        ("/v2/trace/setting", {"trace_level": 1}, "trace setting 'trace_level' should be text"),
        ("/v2/trace/setting", {"trace_level": [1]}, "trace setting 'trace_level' should be text"),
        ("/v2/models/tf2/trace/setting", {"trace_level": {}}, "trace setting 'trace_level' should be text"),
        ("/v2/logging", {"log_info": "yes"}, "log setting 'log_info' should be true or false"),
        ("/v2/logging", {"log_verbose_level": True}, "log setting 'log_verbose_level' should be a whole number"),
    ],
)
def test_settings_that_make_no_sense(server: Server, path: str, body: Any, message: str) -> None:
    found = ask(server.http, "POST", path, body)
    assert (found.status, message in found.json["error"]) == (400, True), found.json


@BOTH
def test_the_servers_extensions_are_what_it_offers(connect: Callable[[str], Client], protocol: str) -> None:
    assert set(plain(connect(protocol).get_server_metadata())["extensions"]) == {
        "model_repository",
        "binary_tensor_data",
        "model_configuration",
        "statistics",
        "trace",
        "logging",
    }


def test_messages_are_tritons() -> None:
    theirs = {**service_pb2.DESCRIPTOR.message_types_by_name, **model_config_pb2.DESCRIPTOR.message_types_by_name}
    file = messages.POOL.FindMessageTypeByName("inference.ModelConfig").file

    def check(ours: Any, other: Any) -> None:
        for field in ours.fields:
            match = other.fields_by_name[field.name]
            assert (field.number, field.type) == (match.number, match.type), field.full_name
        for nested in ours.nested_types:
            check(nested, other.nested_types_by_name[nested.name])
        for enum in ours.enum_types:
            check_enum(enum, other.enum_types_by_name[enum.name])

    def check_enum(ours: Any, other: Any) -> None:
        assert {value.name: value.number for value in ours.values} == {
            value.name: value.number for value in other.values
        }

    for name, ours in file.message_types_by_name.items():
        check(ours, theirs[name])
    check_enum(file.enum_types_by_name["DataType"], model_config_pb2.DataType.DESCRIPTOR)
    their_methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in file.services_by_name["GRPCInferenceService"].methods:
        match = their_methods[method.name]
        assert method.input_type.full_name == match.input_type.full_name
        assert method.output_type.full_name == match.output_type.full_name
