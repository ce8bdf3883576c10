"""`python -m bench.one_process ADDRESS MODEL=FOLDER...`: how servers run several models today, to compare with.

One process with all models, TensorFlow's default thread pools, a gRPC server of the same make as our gateways. Predict
goes by the model's name. Each line on standard input, `load MODEL=FOLDER` or `unload MODEL`, is answered with a line.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from corelane.processor._native import PredictResult, PredictSession, PredictSettings, peek_model_spec
from corelane.processor.engines.tensorflow_engine import TensorFlowEngine
from corelane.processor.gateway.grpc.prediction_service import SERVICE
from corelane.processor.wire.tensor_types import generated_inputs

_CALLS_MAX = 64


class _Model:
    """Called from any number of threads, each with a session of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._engine = TensorFlowEngine.open(folder, b"", b"")
        self._settings = PredictSettings(
            model=name, version=1, tensor_content=False, response_bytes_max=1 << 30, tensor_bytes_max=1 << 30
        )
        self._idle: list[PredictSession] = []
        for signature in self._engine.signatures().values():
            session = self._engine.make_session()
            self._engine.run(session, signature, generated_inputs(signature), list(signature.outputs))

    def predict(self, request: bytes) -> bytes | None:
        try:
            session = self._idle.pop()
        except IndexError:
            session = PredictSession(self._engine.model, self._engine.make_session(), self._settings)
        result, data, _ = session.predict(request)
        self._idle.append(session)
        return data if result is PredictResult.RAN else None


def main(address: str, loaded: list[str]) -> None:
    models: dict[str, _Model] = {}

    def load(text: str) -> None:
        name, _, folder = text.partition("=")
        models[name] = _Model(name, Path(folder))

    def predict(request: bytes, context: grpc.ServicerContext) -> bytes:
        spec = peek_model_spec(request, 0)
        model = models.get(spec[1]) if spec is not None else None
        answer = model.predict(request) if model is not None else None
        if answer is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return b""
        return answer

    for text in loaded:
        load(text)
    server = grpc.server(ThreadPoolExecutor(_CALLS_MAX), options=[("grpc.max_receive_message_length", -1)])
    handlers = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    for line in sys.stdin:
        action, _, text = line.strip().partition(" ")
        if action == "load":
            load(text)
        else:
            models.pop(text, None)
        print("done", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
