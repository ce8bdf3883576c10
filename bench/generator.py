"""`python -m bench.generator SPEC_FILE`: several streams of Predict calls at once, raw bytes each way.

The file is JSON: {"seconds", "streams": {name: {"address", "request" (a file), "rate", "timeout_s", "seed"}}}. Arrivals
are Poisson, and latency counts from when a call was due. Prints {"start_s", "cpu_s", "streams": {name: {"calls":
[[s since the start, ms], ...], "failed"}}}.
"""

import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
_CONNECTIONS = 4  # SO_REUSEPORT spreads connections over gateways, not requests
_WARM_UP_CALLS = 3


class _Stream:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.request = Path(spec["request"]).read_bytes()
        self.calls: list[tuple[float, float]] = []
        self.failed = 0
        self._lock = threading.Lock()
        self._channels = [grpc.insecure_channel(spec["address"], options=_OPTIONS) for _ in range(_CONNECTIONS)]
        self._methods = [channel.unary_unary(_PREDICT) for channel in self._channels]
        for method in self._methods:
            for _ in range(_WARM_UP_CALLS):
                method(self.request, timeout=60, wait_for_ready=True)

    def _done(self, start_s: float, due_s: float, ok: bool) -> None:
        now_s = time.perf_counter()
        with self._lock:
            if ok:
                self.calls.append((due_s - start_s, (now_s - due_s) * 1000))
            else:
                self.failed += 1

    def send(self, start_s: float, seconds: float) -> None:
        source, due_s, number = random.Random(self.spec["seed"]), start_s, 0
        under_way = []
        while True:
            due_s += source.expovariate(self.spec["rate"])
            if due_s > start_s + seconds:
                break
            time.sleep(max(0.0, due_s - time.perf_counter()))
            future = self._methods[number % _CONNECTIONS].future(self.request, timeout=self.spec["timeout_s"])
            number += 1
            future.add_done_callback(
                lambda done, due_s=due_s: self._done(start_s, due_s, done.code() is grpc.StatusCode.OK)
            )
            under_way.append(future)
        for future in under_way:
            future.exception()


def main(spec: dict[str, Any]) -> dict[str, Any]:
    streams = {name: _Stream(one) for name, one in spec["streams"].items()}
    start_s = time.perf_counter() + 0.2
    threads = [threading.Thread(target=one.send, args=(start_s, spec["seconds"])) for one in streams.values()]
    cpu_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "start_s": start_s,
        "cpu_s": time.process_time() - cpu_s,
        "streams": {name: {"calls": stream.calls, "failed": stream.failed} for name, stream in streams.items()},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
