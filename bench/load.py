"""`python -m bench.load ADDRESS REQUEST_FILE CALLERS SECONDS`: a closed loop of Predict calls, raw bytes each way.

Prints {"latency_us": [...], "seconds", "cpu_s", "failed"}: the generator's own CPU is part of what it reports, since it
shares the machine with what it measures."""

import json
import sys
import threading
import time
from pathlib import Path

import grpc

_PREDICT = "/tensorflow.serving.PredictionService/Predict"


def main(address: str, request: bytes, callers: int, seconds: float) -> dict[str, object]:
    latency_us: list[float] = []
    failed = 0
    lock = threading.Lock()
    start, ends = threading.Barrier(callers + 1), []

    def call() -> None:
        nonlocal failed
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        own, errors = [], 0
        # A connection for each caller: SO_REUSEPORT spreads connections over the gateways, not requests.
        with grpc.insecure_channel(address, options=options) as channel:
            predict = channel.unary_unary(_PREDICT)
            predict(request, timeout=60, wait_for_ready=True)
            start.wait()
            end_s = time.perf_counter() + seconds
            while (began_s := time.perf_counter()) < end_s:
                try:
                    predict(request, timeout=60)
                    own.append((time.perf_counter() - began_s) * 1e6)
                except grpc.RpcError:
                    errors += 1
        with lock:
            latency_us.extend(own)
            ends.append(time.perf_counter())
            failed += errors

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    start.wait()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    return {
        "latency_us": latency_us,
        "seconds": max(ends) - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "failed": failed,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), float(sys.argv[4]))))
