"""TensorFlow Serving's REST API, on a server that runs."""

import base64
import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from tests.support import onnx_models
from tests.support.http import Answer, ask
from tests.support.server import WITH_REST, Server, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    onnx_models.write_slow(folder / "slow/1")
    entries = [f"{{name: {name}, path: {tensorflow_models / name}}}" for name in ("tf2", "tf1", "types")]
    entries.append("{name: scale, path: scale, versions: [{version: 1}, {version: 2, label: canary}]}")
    entries.append("{name: slow, path: slow}")
    listen = WITH_REST.replace("}", ", message_bytes_max: 200000}")
    with serving(folder, f"models: [{', '.join(entries)}]", listen=listen) as running:
        running.wait_state("scale", 2, "AVAILABLE")
        yield running


def post(server: Server, path: str, body: Any, **headers: str) -> Answer:
    return ask(
        server.http, "POST", f"/v1/models/{path}", body, {key.replace("_", "-"): v for key, v in headers.items()}
    )


ROWS = [{"word": "a", "x": [1, 1]}, {"word": "b", "x": [2, 0]}, {"word": "?", "x": [0, 0]}]
COLUMNS = {"word": ["a", "b", "?"], "x": [[1, 1], [2, 0], [0, 0]]}


def test_predict_rows_and_columns(server: Server) -> None:
    found = post(server, "tf2:predict", {"instances": ROWS})
    assert found.json == {
        "predictions": [
            {"score": 7.0, "upper": "A"},
            {"score": 8.0, "upper": "B"},
            {"score": -1.0, "upper": "?"},
        ]
    }
    assert found.headers["content-type"] == "application/json"
    found = post(server, "tf2:predict", {"inputs": COLUMNS})
    assert found.json == {"outputs": {"score": [7.0, 8.0, -1.0], "upper": ["A", "B", "?"]}}


def test_one_input_and_one_output_need_no_names(server: Server) -> None:
    assert post(server, "scale:predict", {"instances": [1, 2.5]}).json == {"predictions": [2.0, 5.0]}
    assert post(server, "scale:predict", {"inputs": [1, 2.5]}).json == {"outputs": [2.0, 5.0]}
    assert post(server, "scale:predict", {"inputs": {"x": [1]}}).json == {"outputs": [2.0]}
    scalar = {"signature_name": "scalar", "inputs": 2}
    assert post(server, "tf2:predict", scalar).json == {"outputs": 6.0}


def test_versions_and_labels(server: Server) -> None:
    for path, expected in (("scale/versions/1", 1.0), ("scale/versions/2", 2.0), ("scale/labels/canary", 2.0)):
        assert post(server, f"{path}:predict", {"instances": [1]}).json == {"predictions": [expected]}
    assert [one["version"] for one in ask(server.http, "GET", "/v1/models/scale").json["model_version_status"]] == [
        "1",
        "2",
    ]
    found = ask(server.http, "GET", "/v1/models/scale/labels/canary").json
    assert found == {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_every_type(server: Server) -> None:
    inputs: dict[str, Any] = {
        "float": 0.1, "double": 0.1, "half": 0.5, "bfloat16": -2.0, "int8": -5, "int16": -500, "int32": -70000,
        "int64": -(2**60), "uint8": 200, "uint16": 60000, "uint32": 2**32 - 1, "uint64": 2**64 - 1, "bool": True,
        "string": "grün",
    }  # fmt: skip
    found = post(server, "types:predict", {"signature_name": "plain", "inputs": inputs})
    assert found.json == {"outputs": {f"{name}_out": value for name, value in inputs.items()}}


def test_bytes_are_base64(server: Server) -> None:
    word = {"b64": base64.b64encode(b"\xff\x00").decode()}
    found = post(server, "tf2:predict", {"instances": [{"word": word, "x": [0, 0]}]})
    assert found.json["predictions"][0]["upper"] == word, "no text, so it comes as bytes"
    found = post(server, "tf2:predict", {"instances": [{"word": {"b64": "YQ=="}, "x": [0, 0]}]})
    assert found.json["predictions"][0]["upper"] == "A"


def test_numbers_that_json_does_not_have(server: Server) -> None:
    found = post(server, "scale:predict", b'{"instances": [NaN, Infinity, -Infinity, 0.1]}')
    assert found.body == b'{"predictions":[NaN,Infinity,-Infinity,0.2]}'


def test_classify_and_regress(server: Server) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 1.0, "word": "a"}, {"x": [2.0]}]}
    assert post(server, "tf1:classify", body).json == {
        "results": [[["low", -3.0], ["high", 3.0]], [["low", -4.0], ["high", 4.0]]]
    }
    body = {"signature_name": "regress", "examples": [{"x": 1.0}, {"x": 2.0}], "context": {"word": "a"}}
    found = post(server, "tf1/versions/1:regress", body).json
    assert len(found["results"]) == 2
    assert all(isinstance(value, float) for value in found["results"])


@pytest.mark.parametrize(
    ("path", "body", "version"),
    [
        ("/v1/models/scale:predict", {"instances": [1]}, "2"),
        ("/v1/models/scale/versions/1:predict", {"instances": [1]}, "1"),
        ("/v1/models/scale/versions/1:predict", {"inputs": [1]}, "1"),
        ("/v1/models/scale/labels/canary:predict", {"instances": [1]}, "2"),
        ("/v1/models/tf1:classify", {"signature_name": "classify", "examples": [{"x": 1.0, "word": "a"}]}, "1"),
        ("/v1/models/tf1:regress", {"signature_name": "regress", "examples": [{"x": 1.0, "word": "a"}]}, "1"),
        (
            "/v2/models/scale/versions/1/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]},
            "1",
        ),
        (
            "/v2/models/scale/infer",
            {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}],
                "parameters": {"binary_data_output": True},
            },
            "2",
        ),
    ],
)
def test_answers_name_the_version_that_gave_them(server: Server, path: str, body: Any, version: str) -> None:
    found = ask(server.http, "POST", path, body)
    assert (found.status, found.headers["x-corelane-model-version"]) == (200, version)


def test_errors_name_no_version(server: Server) -> None:
    assert "x-corelane-model-version" not in post(server, "scale:predict", {"instances": ["a"]}).headers


def test_models_are_listed(server: Server) -> None:
    found = {one["name"]: one for one in ask(server.http, "GET", "/v1/models").json["models"]}
    assert list(found) == ["scale", "slow", "tf1", "tf2", "types"]
    for name, one in found.items():
        status = ask(server.http, "GET", f"/v1/models/{name}").json
        assert one == {"name": name, "model_version_status": status["model_version_status"], "problem": ""}
    assert [state["version"] for state in found["scale"]["model_version_status"]] == ["1", "2"]
    assert ask(server.http, "GET", "/v1/models/").status == 200


def test_metadata(server: Server) -> None:
    found = ask(server.http, "GET", "/v1/models/tf2/versions/1/metadata").json
    assert found["model_spec"] == {"name": "tf2", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "scalar"}
    assert signatures["serving_default"]["inputs"]["x"] | {"name": ""} == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "",
    }
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("nothing:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nothing)"),
        ("scale/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(scale, 9)"),
        ("scale/versions/x:predict", {"instances": [1]}, 400, "'x' is no version"),
        ("scale/versions/%D9%A1:predict", {"instances": [1]}, 400, "'١' is no version"),
        (f"scale/versions/{2**63 - 1}:predict", {"instances": [1]}, 404, f"Specific(scale, {2**63 - 1})"),
        (f"scale/versions/{2**63}:predict", {"instances": [1]}, 400, f"'{2**63}' is no version"),
        ("scale/labels/no:predict", {"instances": [1]}, 400, "Unrecognized servable version label: no"),
        ("scale:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("scale:predict", b"{", 400, "JSON Parse error"),
        ("scale:predict", b"[1]", 400, "JSON Value: [1] Is not object"),
        ("scale:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("scale:predict", {"inputs": [1], "instances": [1]}, 400, "expecting only one of 'inputs' or 'instances'"),
        ("scale:predict", {"instances": 1}, 400, "Expecting 'instances' to be an list/array"),
        ("scale:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("scale:predict", {"instances": ["a"]}, 400, "is not of expected type: float"),
        ("scale:predict", {"instances": [True]}, 400, "is not of expected type: float"),
        ("scale:predict", b'{"instances": [NaN, 1e999]}', 400, "JSON Parse error: number is infinity"),
        ("scale:predict", b'{"instances": [1]} x', 400, "JSON Parse error: unexpected content after document"),
        (
            "scale:predict",
            {"instances": [[1], 2]},
            400,
            "process element: 1 of 'instances' list. Error: Expecting shape",
        ),
        ("scale:predict", {"instances": [1, {"x": 1}]}, 400, "Expecting value/list but got object at item 1"),
        ("scale:predict", {"instances": [{"x": 1}, 1]}, 400, "Expecting object but got list at item 1"),
        ("scale:predict", {"instances": [{"z": 1}]}, 400, "keys must be equal to: x"),
        ("scale:predict", {"inputs": {"z": 1}}, 400, "Missing named input: x in 'inputs' object."),
        ("scale:predict", {"inputs": [[1]]}, 400, "which does not fit [-1]"),
        ("tf2:predict", {"inputs": {"word": ["a"], "x": [1]}}, 400, "Invalid reduction dimension"),
        ("scale:predict", {"inputs": [1], "signature_name": "s"}, 400, 'Serving signature key "s" not found.'),
        ("scale:predict", {"inputs": [1], "signature_name": 1}, 400, "'signature_name' key must be a string value"),
        ("tf2:predict", {"instances": [1]}, 400, "instances is a plain list, but expecting list of objects"),
        ("tf2:predict", {"inputs": [1]}, 400, "inputs is a plain value/list, but expecting an object"),
        ("tf2:predict", {"inputs": {"word": [1], "x": [[1, 1]]}}, 400, "is not of expected type: string"),
        ("tf2:predict", {"inputs": {"word": [{"b64": "!"}], "x": [[1, 1]]}}, 400, "Unable to base64 decode"),
        ("tf2:predict", {"inputs": {"word": [["a"], "b"], "x": [[1, 1]]}}, 400, "found at incorrect level: 2"),
        (
            "tf2:predict",
            {"inputs": {"word": [["a"], []], "x": [[1, 1]]}},
            400,
            "list at unexpected size: 0 at level: 1",
        ),
        ("tf2:classify", {"examples": [{}]}, 400, "Expected one input Tensor."),
        ("tf1:classify", {"examples": []}, 400, "'examples' value is an empty array"),
        ("tf1:classify", {"examples": {}}, 400, "Expecting 'examples' value to be an list/array"),
        ("tf1:classify", {}, 400, "key 'examples' is expected and was not found"),
        ("tf1:classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("tf1:classify", {"examples": [{"x": None}]}, 400, "unexpected JSON type: Null"),
        (
            "tf1:classify",
            {"examples": [{"x": [1.0, "a"]}]},
            400,
            "Unexpected element type in feature: x expecting type",
        ),
        ("tf1:classify", {"examples": [{"x": 2**63}]}, 400, "has uint64_t element. Only int64_t is supported."),
    ],
)
def test_errors(server: Server, path: str, body: Any, status: int, message: str) -> None:
    found = post(server, path, body)
    assert (found.status, message in found.json["error"]) == (status, True), found.json


INTEGERS = {name: np.iinfo(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
OTHERS = {"float": 2**53 + 1, "double": 2**53 + 1, "half": 1, "bfloat16": 1, "bool": True, "string": "a"}


def test_whole_numbers_are_exact_both_ways(server: Server) -> None:
    values = {name: [int(limits.max), int(limits.min), 1] for name, limits in INTEGERS.items()}
    inputs = {**{name: [value] * 3 for name, value in OTHERS.items()}, **values}
    found = post(server, "types:predict", {"signature_name": "plain", "inputs": inputs}).json["outputs"]
    assert {name: found[f"{name}_out"] for name in values} == values
    assert found["double_out"] == [2.0**53] * 3
    rows = [{name: value[index] for name, value in inputs.items()} for index in range(3)]
    found = post(server, "types:predict", {"signature_name": "plain", "instances": rows}).json["predictions"]
    assert [[row[f"{name}_out"] for row in found] for name in values] == list(values.values())
    # A NaN in the same body changes nothing for them, there or back.
    inputs["float"] = inputs["double"] = [float("nan")] * 3
    found = post(server, "types:predict", {"signature_name": "plain", "inputs": inputs}).json["outputs"]
    assert {name: found[f"{name}_out"] for name in values} == values
    for name, limits in INTEGERS.items():
        for value in (int(limits.max) + 1, int(limits.min) - 1, 1.0):
            answer = post(server, "types:predict", {"signature_name": "plain", "inputs": {**inputs, name: [value] * 3}})
            assert (answer.status, f"is not of expected type: {name}" in answer.json["error"]) == (400, True)


def test_a_number_over_the_range_of_a_float_is_infinite(server: Server) -> None:
    found = post(server, "scale:predict", {"instances": [1e39, -1e39]})
    assert found.body == b'{"predictions":[Infinity,-Infinity]}'


def test_packed_bodies_are_read_whole(server: Server) -> None:
    first, second = gzip.compress(b'{"instances"'), gzip.compress(b": [1]}")
    assert post(server, "scale:predict", first + second, content_encoding="GZIP").json == {"predictions": [2.0]}
    assert post(server, "scale:predict", first + second + b"x", content_encoding="gzip").status == 400
    assert post(server, "scale:predict", first, content_encoding="gzip").status == 400
    body = gzip.compress(b'{"instances": [1]}')
    for encoding in ("x-gzip", "identity, gzip", "gzip, identity"):
        assert post(server, "scale:predict", body, content_encoding=encoding).json == {"predictions": [2.0]}


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models/scale/explode", "/v3/models"])
def test_paths_that_are_not(server: Server, path: str) -> None:
    found = ask(server.http, "GET", path)
    assert (found.status, found.json) == (found.status, {"error": f"Malformed request: GET {path}"})
    assert found.status in (404, 405)


def test_compression_both_ways(server: Server) -> None:
    body = json.dumps({"instances": [1.0] * 2000}).encode()
    packers = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}
    unpackers = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
    }
    for name, pack in packers.items():
        found = post(server, "scale:predict", pack(body), content_encoding=name, accept_encoding=f"br, {name};q=0.5")
        assert found.status == 200, found.body
        assert found.headers["content-encoding"] == name
        assert len(found.body) < 1000
        assert json.loads(unpackers[name](found.body)) == {"predictions": [2.0] * 2000}
        damaged = post(server, "scale:predict", pack(body)[:-10], content_encoding=name)
        assert damaged.status == 400
    assert "content-encoding" not in post(server, "scale:predict", body, accept_encoding="zstd;q=0, br").headers
    assert post(server, "scale:predict", body, accept_encoding="*").headers["content-encoding"] == "zstd"
    found = post(server, "scale:predict", body, content_encoding="br")
    assert (found.status, "Content-Encoding br is not known" in found.json["error"]) == (501, True)


def test_sizes_are_bounded_before_they_are_reached(server: Server) -> None:
    found = post(server, "scale:predict", b" " * 200_001)
    assert (found.status, "over listen.message_bytes_max (200000 bytes)" in found.json["error"]) == (413, True)
    for name, pack in (("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)):
        bomb = pack(b"[" * 100_000_000)
        assert len(bomb) < 200_000
        found = post(server, "scale:predict", bomb, content_encoding=name)
        assert (found.status, "grows over listen.message_bytes_max" in found.json["error"]) == (400, True)
    chunks = b"".join(b"4000\r\n" + b" " * 0x4000 + b"\r\n" for _ in range(20))
    host, _, port = server.http.partition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        head = b"POST /v1/models/scale:predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head + chunks)
        assert b" 413 " in connection.recv(100)


def test_a_client_that_hangs_up_is_noticed(server: Server) -> None:
    host, _, port = server.http.partition(":")
    before = server.version("slow", 1)["requests"]["cancelled"]
    connection = socket.create_connection((host, int(port)), 30)
    body = json.dumps({"inputs": 2_000_000}).encode()
    head = f"POST /v1/models/slow:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    wait_until(lambda: server.version("slow", 1)["requests"]["running"] == 1, "the request runs")
    connection.close()
    wait_until(lambda: server.version("slow", 1)["requests"]["cancelled"] == before + 1, "the cancelled request")
