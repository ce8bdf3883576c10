"""`python -m bench.soak_mixed`: everything at once, for hours: calls by every protocol, splits, shadows, the request
log, scrapes, loads and unloads, promotes, and workers and gateways killed; exits 1 if an answer is wrong, a call fails
that should not, or something grows.

A call may fail with UNAVAILABLE where a process was killed under it, or a connection broke; such failures are counted,
and there must be fewer than a hundred for each kill. Everything else is a fault.
"""

import argparse
import http.client
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np

from bench.environment import header
from corelane.client import Client
from corelane.commands.common import call_admin, table
from processor.errors import Cancelled, ControlError, Unavailable
from processor.wire import inference, messages
from tests.support import onnx_models
from tests.support.cycles import Usage, usage
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving

_MEMORY_BYTES_MAX = 64 << 20
_DESCRIPTORS_MAX = 64  # connections come and go
_FAILURES_A_KILL = 100
_MODELS = """\
models:
  - name: split
    path: m
    sticky_key: user-id
    queue: {timeout_ms: 5000}
    request_log: {folder: logs, percent: 10, bytes_max: 4194304}
    versions:
      - {version: 1, label: stable, traffic: 90}
      - {version: 2, role: ab, label: canary, traffic: 10}
      - {version: 3, role: ab, shadow: 20}
"""
_OTHER = "  - {name: other, path: m, versions: [{version: 1, role: ab}], queue: {timeout_ms: 5000}}\n"


class Soak:
    """What happens, on threads, until `stop`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stop = threading.Event()
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.faults: list[str] = []
        self.events: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, name: str, call: Callable[[], None], every_s: float) -> threading.Thread:
        def loop() -> None:
            while not self.stop.wait(every_s):
                self._once(name, call)

        thread = threading.Thread(target=loop, name=name)
        thread.start()
        return thread

    def _once(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except (Unavailable, Cancelled, ConnectionError, http.client.HTTPException, TimeoutError) as error:
            with self._lock:
                self.failures[f"{name}: {type(error).__name__}"] += 1
        except Exception as error:
            with self._lock:
                self.faults.append(f"{name}: {type(error).__name__}: {error}"[:300])
        else:
            with self._lock:
                self.answers[name] += 1

    def by_grpc(self) -> None:
        with Client(self.server.grpc) as client:
            for number in range(20):
                outputs, version = client.predict_versioned("split", {"x": [float(number)]}, timeout_s=20)
                assert outputs["y"].tolist() == [number * version], "a wrong answer"

    def by_kserve(self) -> None:
        request = messages.ModelInferRequest(model_name="split", model_version="2")
        array = np.array([1, 2], np.float32)
        request.inputs.add(name="x", datatype="FP32", shape=[2])
        request.raw_input_contents.append(inference.to_raw(array))
        with grpc.insecure_channel(self.server.grpc) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            try:
                answer = messages.ModelInferResponse.FromString(call(request.SerializeToString(), timeout=20))
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise Unavailable(str(error.details())) from None
                raise
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2, 4], "a wrong answer"

    def by_rest(self) -> None:
        headers = {"user-id": "u1", "accept-encoding": "zstd, gzip"}
        found = ask(self.server.http, "POST", "/v1/models/split/labels/stable:predict", {"instances": [1, 2]}, headers)
        if found.status == 503:
            raise Unavailable(found.json["error"])
        value = found.json["predictions"][0]
        assert found.json == {"predictions": [value, 2 * value]} and value in (1, 2), "a wrong answer"

    def scrape(self) -> None:
        for path in ("/metrics", "/v1/status", "/v1/report", "/v1/history", "/"):
            assert ask(self.server.admin, "GET", path).status == 200

    def promote(self) -> None:
        """To the canary and back."""
        for action, body in (("promote", {"version": 2}), ("rollback", {})):
            try:
                call_admin(self.server.admin, "/v1/traffic", {"action": action, "model": "split", **body})
                self.events[action] += 1
            except ControlError as error:
                if "is not available" not in str(error) and "nothing was promoted" not in str(error):
                    raise

    def load(self) -> None:
        """Another model comes and goes."""
        self.server.apply(WITH_REST + _MODELS + _OTHER)
        self.server.wait_state("other", 1, "AVAILABLE", 600)
        with Client(self.server.grpc) as client:
            assert client.predict("other", {"x": [3.0]}, timeout_s=20)["y"].tolist() == [3.0]
        self.server.apply(WITH_REST + _MODELS)
        self.events["loads"] += 1

    def kill(self) -> None:
        """A worker, then a gateway."""
        status = self.server.status()
        worker = next((one["pid"] for one in status["models"][0]["versions"] if one["pid"]), None)
        gateway = status["gateways"][self.events["kills"] % len(status["gateways"])]["pid"]
        for pid in (worker, gateway):
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.events["kills"] += 1
                except ProcessLookupError:
                    continue
            if self.stop.wait(2):
                return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--kill-every", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for version in (1, 2, 3):
            onnx_models.write_scale(folder / f"m/{version}", version)
        with serving(folder, _MODELS, listen=WITH_REST) as server:
            for version in (1, 2, 3):
                server.wait_state("split", version, "AVAILABLE")
            return _soak(server, options)


def _soak(server: Server, options: argparse.Namespace) -> int:
    soak = Soak(server)
    threads = [
        *(soak.run("TensorFlow's gRPC", soak.by_grpc, 0.2) for _ in range(2)),
        soak.run("KServe's gRPC", soak.by_kserve, 0.1),
        soak.run("REST", soak.by_rest, 0.1),
        soak.run("scrapes", soak.scrape, 1.0),
        soak.run("promotes", soak.promote, 3.0),
        soak.run("loads", soak.load, 5.0),
        soak.run("kills", soak.kill, options.kill_every),
    ]
    seconds = options.hours * 3600
    end_s = time.monotonic() + seconds
    first: Usage | None = None
    told_s = time.monotonic()
    while time.monotonic() < end_s and not soak.faults:
        time.sleep(min(1.0, seconds / 20))
        if first is None and time.monotonic() > end_s - 0.8 * seconds:
            first = usage(server)
        if time.monotonic() - told_s > max(60.0, seconds / 50):
            told_s = time.monotonic()
            print(f"{sum(soak.answers.values())} rounds, {soak.events['kills']} kills", file=sys.stderr, flush=True)
    soak.stop.set()
    for thread in threads:
        thread.join()
    server.wait_ready()
    growth = usage(server).minus(first) if first is not None else None
    return _tell(soak, growth, options)


def _tell(soak: Soak, growth: Usage | None, options: argparse.Namespace) -> int:
    failed = sum(soak.failures.values())
    problems = list(soak.faults)
    if failed > _FAILURES_A_KILL * max(1, soak.events["kills"]):
        problems.append(f"{failed} calls failed for {soak.events['kills']} kills")
    if growth is not None and (growth.memory_bytes > _MEMORY_BYTES_MAX or growth.descriptors > _DESCRIPTORS_MAX):
        problems.append(f"it grows: {growth}")
    if options.json:
        found = {"rounds": soak.answers, "failures": soak.failures, "events": soak.events, "problems": problems}
        print(json.dumps(found, indent=2))
        return 1 if problems else 0
    print(header())
    print()
    counted = {**soak.answers, **soak.failures, **{f"done: {name}": count for name, count in soak.events.items()}}
    rows = [[name, count] for name, count in sorted(counted.items())]
    print(table(["what", "how often"], rows))
    if growth is not None:
        memory = f"{growth.memory_bytes / 2**20:+.1f} MiB"
        print(f"\ngrowth after the first fifth: {memory}, {growth.descriptors:+d} descriptors")
    print("\n".join(problems) if problems else "no fault")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
