"""`listen.grpc_compression`, by the bytes that cross the wire."""

import contextlib
import socket
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from corelane.processor.wire import messages, tensors
from tests.support import onnx_models
from tests.support.server import LISTEN, serving


class Wire:
    """A relay between a client and the server that counts bytes."""

    def __init__(self, server: str) -> None:
        host, _, port = server.partition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.answered = 0
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._server) as server:
            back = threading.Thread(target=self._copy, args=(server, client, "answered"))
            back.start()
            self._copy(client, server, "sent")
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, counter: str) -> None:
        with contextlib.suppress(OSError):  # either side may go first
            while data := source.recv(1 << 16):
                setattr(self, counter, getattr(self, counter) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._thread.join(20)
        self._listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    return tmp_path


@pytest.mark.parametrize(("setting", "packed"), [("none", False), ("gzip", True), ("deflate", True)])
def test_answers_are_compressed_as_the_manifest_says(folder: Path, setting: str, packed: bool) -> None:
    request = messages.PredictRequest()
    request.model_spec.name = "scale"
    tensors.encode(np.ones(50_000, np.float32), request.inputs["x"], as_content=True)
    listen = LISTEN.replace("}", f", grpc_compression: {setting}}}")
    with serving(folder, "models: [{name: scale, path: scale}]", listen=listen) as server:
        wire = Wire(server.grpc)
        with grpc.insecure_channel(wire.address, compression=grpc.Compression.Gzip) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            answer = messages.PredictResponse.FromString(call(request.SerializeToString(), timeout=20))
        wire.close()
    assert tensors.decode("y", answer.outputs["y"], bytes_max=1 << 20).sum() == 100_000
    assert wire.sent < 10_000, "requests may come compressed in any case"
    assert (wire.answered < 10_000) is packed
