"""`python -m bench.engine_loop VERSION_FOLDER SESSIONS`: an engine by itself, in a process like a worker's.

Answers each line `[request file, callers, seconds]` on standard input with a line of JSON: what threads of this process
made in a closed loop, with the request's bytes if the engine takes them, else with arrays made already.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corelane.processor._native import PredictResult, PredictSession, PredictSettings
from corelane.processor.engines import Engine, EngineOptions, NativeEngine, choose_engine, load_engine
from corelane.processor.serving import validation
from corelane.processor.wire import messages
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.processor.worker.allocator import worker_environment

_SETTINGS = PredictSettings(
    model="m", version=1, tensor_content=False, response_bytes_max=1 << 30, tensor_bytes_max=1 << 30
)


class EngineLoop:
    """Such a process, seen from the bench. Use: with EngineLoop(folder, sessions) as loop: loop.run(...)"""

    def __init__(self, folder: Path, sessions: int) -> None:
        engine = choose_engine(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.engine_loop", str(folder), str(sessions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment() if engine == "tensorflow" else None,
        )

    def run(self, request: Path, callers: int, seconds: float) -> dict[str, Any]:
        """`latency_us` of every run, `seconds` it took, `cpu_us` of the process by run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(request), callers, seconds]) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def __enter__(self) -> "EngineLoop":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()


def _runner(engine: Engine, request: bytes) -> Callable[[], object]:
    session, signature = engine.make_session(), engine.signatures()[DEFAULT_SIGNATURE]
    if not isinstance(engine, NativeEngine):
        message = messages.PredictRequest.FromString(request)
        inputs, outputs = validation.decode_inputs(signature, message.inputs, 1 << 30), list(signature.outputs)
        return lambda: engine.run(session, signature, inputs, outputs)
    native = PredictSession(engine.model, session, _SETTINGS)

    def run() -> None:
        result, _, _ = native.predict(request)
        assert result is PredictResult.RAN

    return run


def closed_loop(runners: list[Callable[[], object]], seconds: float) -> dict[str, Any]:
    latency_us: list[float] = []
    start = threading.Barrier(len(runners) + 1)

    def call(run: Callable[[], object]) -> None:
        own = []
        start.wait()
        end_s = time.perf_counter() + seconds
        while (began_s := time.perf_counter()) < end_s:
            run()
            own.append((time.perf_counter() - began_s) * 1e6)
        latency_us.extend(own)

    threads = [threading.Thread(target=call, args=(run,)) for run in runners]
    for thread in threads:
        thread.start()
    start.wait()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    return {
        "latency_us": latency_us,
        "seconds": time.perf_counter() - began_s,
        "cpu_us": (time.process_time() - cpu_s) * 1e6 / len(latency_us),
    }


def main(folder: Path, sessions: int) -> None:
    engine = load_engine(choose_engine(folder), folder, EngineOptions(sessions=sessions))
    for line in sys.stdin:
        file, callers, seconds = json.loads(line)
        request = Path(file).read_bytes()
        print(json.dumps(closed_loop([_runner(engine, request) for _ in range(callers)], seconds)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
