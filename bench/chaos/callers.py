"""Clients of every protocol, on threads, each with its own connection; every answer is checked."""

import random
import threading
from typing import Any

import grpc
import numpy as np

from bench.chaos.ledger import Ledger, WrongAnswer
from bench.chaos.models import LINKED, Ads
from corelane.processor.errors import DeadlinePassed, Overloaded, RequestError, Unavailable
from corelane.processor.wire import kserve_tensors, messages
from corelane.processor.wire.status import error_of_call
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import Server

TIMEOUT_S = 20.0
_CODINGS: list[dict[str, str]] = [{}, {"accept-encoding": "gzip"}, {"accept-encoding": "zstd"}]
_HTTP_ERRORS: dict[int, type[RequestError]] = {429: Overloaded, 503: Unavailable, 504: DeadlinePassed}


class Callers:
    """Runs until `stop`. `linked` names the contents that linked/1 may be answered from now."""

    def __init__(self, server: Server, ledger: Ledger, ads: Ads) -> None:
        self.server = server
        self.ledger = ledger
        self.linked = set(LINKED.values())
        self._ads = ads
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, seed: int) -> None:
        loops = [self._predict_split, self._predict_split, self._predict_latest, self._predict_linked]
        loops += [self._predict_ads, self._predict_ads, self._infer, self._rest, self._scrape]
        for number, loop in enumerate(loops):
            name = f"{loop.__name__.strip('_')} {number}"
            thread = threading.Thread(target=loop, args=(name, random.Random(seed * 100 + number)), name=name)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S * 2)

    def _pause(self, source: random.Random) -> None:
        self._stop.wait(source.uniform(0, 0.02))

    def _scaled(self, name: str, source: random.Random, model: str, factors: Any, **selector: Any) -> None:
        """Calls a model that multiplies, on a connection that lives for some calls. `factors(version)` may answer."""
        with Client(self.server.grpc) as client:
            for _ in range(source.randint(1, 200)):
                if self._stop.is_set():
                    return
                x = np.array([source.uniform(-9, 9) for _ in range(source.randint(1, 20))], np.float32)

                def call(x: np.ndarray = x) -> int:
                    outputs, version = client.predict_versioned(model, {"x": x}, timeout_s=TIMEOUT_S, **selector)
                    if not any(np.array_equal(outputs["y"], x * np.float32(factor)) for factor in factors(version)):
                        raise WrongAnswer(f"{model}/{version}: {x.tolist()} gave {outputs['y'].tolist()}")
                    return 1

                self.ledger.call(name, model, call, TIMEOUT_S)
                self._pause(source)

    def _predict_split(self, name: str, source: random.Random) -> None:
        while not self._stop.is_set():
            selector = source.choice([{}, {"version": 2}, {"label": "stable"}, {"label": "canary"}])
            self._scaled(name, source, "split", lambda version: [version], **selector)

    def _predict_latest(self, name: str, source: random.Random) -> None:
        while not self._stop.is_set():
            self._scaled(name, source, "latest", lambda version: [version])

    def _predict_linked(self, name: str, source: random.Random) -> None:
        while not self._stop.is_set():
            self._scaled(name, source, "linked", lambda version: [*self.linked])

    def _predict_ads(self, name: str, source: random.Random) -> None:
        while not self._stop.is_set():
            with Client(self.server.grpc) as client:
                for _ in range(source.randint(1, 200)):
                    if self._stop.is_set():
                        return
                    number = source.randrange(len(self._ads.requests))

                    def call(number: int = number) -> int:
                        outputs = client.predict("ads", self._ads.requests[number], timeout_s=TIMEOUT_S)
                        for key, expected in self._ads.answers[number].items():
                            if outputs[key].shape != expected.shape or not np.allclose(
                                outputs[key], expected, rtol=1e-4, atol=1e-5
                            ):
                                raise WrongAnswer(f"ads: request {number} gave {outputs[key].tolist()}"[:300])
                        return 1

                    self.ledger.call(name, "ads", call, TIMEOUT_S)
                    self._pause(source)

    def _infer(self, name: str, source: random.Random) -> None:
        while not self._stop.is_set():
            with grpc.insecure_channel(self.server.grpc) as channel:
                method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                for _ in range(source.randint(1, 100)):
                    if self._stop.is_set():
                        return
                    array = np.array([source.uniform(-9, 9) for _ in range(source.randint(1, 20))], np.float32)

                    def call(array: np.ndarray = array, method: Any = method) -> int:
                        request = messages.ModelInferRequest(model_name="split", model_version="2")
                        request.inputs.add(name="x", datatype="FP32", shape=[len(array)])
                        request.raw_input_contents.append(kserve_tensors.to_raw(array))
                        try:
                            data = method(request.SerializeToString(), timeout=TIMEOUT_S)
                        except grpc.RpcError as error:
                            raise error_of_call(error) from None
                        answer = messages.ModelInferResponse.FromString(data)
                        got = np.frombuffer(answer.raw_output_contents[0], np.float32)
                        if not np.array_equal(got, array * np.float32(2)):
                            raise WrongAnswer(f"split/2 by KServe: {array.tolist()} gave {got.tolist()}")
                        return 1

                    self.ledger.call(name, "split", call, TIMEOUT_S)
                    self._pause(source)

    def _rest(self, name: str, source: random.Random) -> None:
        assert self.server.http is not None
        while not self._stop.is_set():
            values = [source.randint(-1000, 1000) for _ in range(source.randint(1, 20))]
            version = source.choice([1, 2])
            headers = {**source.choice(_CODINGS), "user-id": f"u{source.randrange(100)}"}

            def call(values: list[int] = values, version: int = version, headers: dict[str, str] = headers) -> int:
                path = f"/v1/models/split/versions/{version}:predict"
                answer = ask(self.server.http, "POST", path, {"instances": values}, headers, TIMEOUT_S)
                if answer.status in _HTTP_ERRORS:
                    raise _HTTP_ERRORS[answer.status](answer.body.decode())
                if answer.status != 200 or answer.json != {"predictions": [value * version for value in values]}:
                    raise WrongAnswer(f"split/{version} by REST: {values} gave {answer.body[:200]!r}")
                return 1

            self.ledger.call(name, "split", call, TIMEOUT_S)
            self._pause(source)

    def _scrape(self, name: str, source: random.Random) -> None:
        paths = ["/metrics", "/v1/status", "/v1/report", "/v1/history", "/", "/v1/live"]
        while not self._stop.wait(0.5):
            path = source.choice(paths)

            def call(path: str = path) -> int:
                answer = ask(self.server.admin, "GET", path, timeout_s=TIMEOUT_S)
                if answer.status != 200:
                    raise WrongAnswer(f"{path} answered {answer.status}: {answer.body[:200]!r}")
                return 1

            self.ledger.call(name, "admin", call, TIMEOUT_S)
