"""OpenTelemetry's spans as a collector gets them, and that nothing of it is there when it is off."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from corelane.processor.wire import messages, tensors
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.server import WITH_REST, serving, wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        return None


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_spans_by_grpc_and_rest(tmp_path: Path, collector: Collector) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    listen = WITH_REST.replace("}", f', traces: {{endpoint: "{endpoint}", percent: 0}}}}')
    with serving(tmp_path, "models: [{name: scale, path: scale}]", listen=listen) as server:
        request = messages.PredictRequest()
        request.model_spec.name = "scale"
        tensors.encode(np.array([1], np.float32), request.inputs["x"])
        sampled = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "mine")]
        with grpc.insecure_channel(server.grpc) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            call(request.SerializeToString(), metadata=sampled)
            call(request.SerializeToString())  # 0 % of those that the client does not trace
            with pytest.raises(grpc.RpcError):
                call(b"", metadata=sampled)
        headers = {"Traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert (
            ask(server.http, "POST", "/v1/models/scale/versions/1:predict", {"instances": [1]}, headers).status == 200
        )
        assert server.stop() == 0, "what waits is sent at the end"
        wait_until(lambda: len(collector.spans) == 3, "the spans")
    by_name = {(span.name, attributes(span)["rpc.system"]): span for span in collector.spans}
    span = by_name["predict scale", "grpc"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.kind == span.SPAN_KIND_SERVER
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60 * 10**9
    assert attributes(span)["corelane.request_id"] == "mine"
    assert attributes(by_name["predict scale", "http"])["corelane.version"] == "1"
    failed = by_name["predict", "grpc"]
    assert (failed.status.code, "Missing ModelSpec" in failed.status.message) == (2, True)


def test_nothing_is_imported_where_it_is_off() -> None:
    code = (
        "import sys, corelane.processor.gateway.grpc.server, corelane.processor.gateway.http.server\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
