"""`python -m bench.serving`: what serving costs beside the engine in process.

For a small model and one of 200 string columns, at batch 1 and 100, in turn, several times over: the engine called
in a process like a worker's, and the server over gRPC. Medians of the rounds. With --fused, the second as a fused
plan over gRPC, against TensorFlow in process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from bench import models, prepared
from bench.engine_loop import EngineLoop
from bench.environment import describe, header
from corelane.processor.engines import Engine, EngineOptions, choose_engine, load_engine
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.terminal import table
from tests.support import onnx_models
from tests.support.server import Server, serving

_EXPLANATION = """\
req/s       answers a second in a closed loop of {callers} callers, median of {rounds} rounds of {seconds:g} s each
p50, p99    latency in ms; over gRPC as the client sees it
CPU us      CPU time of an answer: in the engine's process, or in gateways, worker and load generator
ratio       req/s over gRPC by req/s in process, round by round; gateways, worker and generator share the cores"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One closed loop. CPU in µs per answer."""

    answers: int
    seconds: float
    latency_us: list[float]
    engine_us: float = 0.0
    gateway_us: float = 0.0
    worker_us: float = 0.0
    generator_us: float = 0.0

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model: str
    batch: int
    where: str
    rate: float
    p50_ms: float
    p99_ms: float
    engine_us: float
    gateway_us: float
    worker_us: float
    generator_us: float
    ratio: float
    failed: int


def in_process(loop: EngineLoop, request: Path, callers: int, seconds: float) -> Round:
    found = loop.run(request, callers, seconds)
    return Round(
        answers=len(found["latency_us"]),
        seconds=found["seconds"],
        latency_us=found["latency_us"],
        engine_us=found["cpu_us"],
    )


def over_grpc(server: Server, model: str, request: Path, callers: int, seconds: float) -> tuple[Round, int]:
    """The load generator in a process of its own; also how many of its calls failed."""
    gateways = [gateway["pid"] for gateway in server.status()["gateways"]]
    worker = server.version(model, 1)["pid"]
    before = _cpu_s(gateways), _cpu_s([worker])
    command = [sys.executable, "-m", "bench.load", server.grpc, str(request), str(callers), str(seconds)]
    found = json.loads(subprocess.check_output(command))
    count = len(found["latency_us"])
    return (
        Round(
            answers=count,
            seconds=found["seconds"],
            latency_us=found["latency_us"],
            gateway_us=(_cpu_s(gateways) - before[0]) * 1e6 / count,
            worker_us=(_cpu_s([worker]) - before[1]) * 1e6 / count,
            generator_us=found["cpu_s"] * 1e6 / count,
        ),
        found["failed"],
    )


def _cpu_s(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _row(model: str, batch: int, where: str, rounds: list[Round], ratio: float, failed: int = 0) -> Row:
    def median(value: Callable[[Round], float]) -> float:
        return statistics.median(value(one) for one in rounds)

    return Row(
        model=model,
        batch=batch,
        where=where,
        rate=median(lambda one: one.rate),
        p50_ms=median(lambda one: float(np.percentile(one.latency_us, 50)) / 1000),
        p99_ms=median(lambda one: float(np.percentile(one.latency_us, 99)) / 1000),
        engine_us=median(lambda one: one.engine_us),
        gateway_us=median(lambda one: one.gateway_us),
        worker_us=median(lambda one: one.worker_us),
        generator_us=median(lambda one: one.generator_us),
        ratio=ratio,
        failed=failed,
    )


def measure(
    server: Server,
    engine: Engine,
    loop: EngineLoop,
    model: str,
    batch: int,
    inputs: dict[str, np.ndarray],
    options: argparse.Namespace,
    folder: Path,
) -> list[Row]:
    """Both ways, in turn. The served answer must be that of `engine`, bit by bit if it serves."""
    message = messages.PredictRequest()
    message.model_spec.name = model
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    request = folder / f"{model}-{batch}.request"
    request.write_bytes(message.SerializeToString())
    with server.client() as client:
        served = client.predict(model, inputs, timeout_s=60)
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    own = engine.run(engine.make_session(), signature, inputs, list(signature.outputs))
    for name, array in own.items():
        same = np.allclose(array, served[name], rtol=1e-4) if options.fused else np.array_equal(array, served[name])
        assert same, f"{model}: the served {name} is not the engine's"

    here: list[Round] = []
    there: list[Round] = []
    failed = 0
    for _ in range(options.rounds):
        here.append(in_process(loop, request, options.callers, options.seconds))
        found, failures = over_grpc(server, model, request, options.callers, options.seconds)
        there.append(found)
        failed += failures
    ratio = statistics.median(b.rate / a.rate for a, b in zip(here, there, strict=True))
    return [
        _row(model, batch, "in process", here, 1.0),
        _row(model, batch, "over gRPC", there, ratio, failed),
    ]


def _prepare(
    options: argparse.Namespace, folder: Path
) -> dict[str, tuple[Path, Callable[[int], dict[str, np.ndarray]]]]:
    """{model: (folder, inputs of a batch)}"""
    if options.smoke:
        onnx_models.write_scale(folder / "scale/1", 1)
        return {"scale": (folder / "scale", lambda rows: {"x": np.arange(rows, dtype=np.float32)})}
    root = prepared.models("small", "columns")
    if options.fused:
        return {"columns": (root / "columns", models.columns_inputs)}
    return {"small": (root / "small", models.small_inputs), "columns": (root / "columns", models.columns_inputs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes, on a tiny ONNX model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fused", action="store_true", help="serve a fused plan, and compare with TensorFlow")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 2, 0.3

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        contestants = _prepare(options, folder)
        entries = [
            f"{{name: {name}, path: {path}, engine: {'fused' if options.fused else choose_engine(path / '1')}, "
            f"precision: fp32, queue: {{timeout_ms: 60000}}}}"
            for name, (path, _) in contestants.items()
        ]
        server = stack.enter_context(serving(folder, f"models: [{', '.join(entries)}]"))
        for name in contestants:
            server.wait_state(name, 1, "AVAILABLE", timeout_s=300)
        for name, (path, make) in contestants.items():
            version = path / "1"
            sessions = server.version(name, 1)["sessions"]
            engine = load_engine(choose_engine(version), version, EngineOptions(sessions=sessions))
            loop = stack.enter_context(EngineLoop(version, sessions))
            for batch in (1, 100):
                print(f"measuring {name}, batch {batch} ...", file=sys.stderr, flush=True)
                rows += measure(server, engine, loop, name, batch, make(batch), options, folder)
            engine.unload()

    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    print()
    columns = ["model", "batch", "where", "req/s", "p50 ms", "p99 ms", "engine us", "gateway us", "worker us"]
    columns += ["generator us", "ratio", "failed"]
    print(
        table(
            columns,
            [
                [
                    row.model,
                    row.batch,
                    row.where,
                    f"{row.rate:.0f}",
                    f"{row.p50_ms:.2f}",
                    f"{row.p99_ms:.2f}",
                    *(f"{value:.0f}" if value else None for value in (row.engine_us, row.gateway_us, row.worker_us)),
                    f"{row.generator_us:.0f}" if row.generator_us else None,
                    f"{row.ratio:.2f}",
                    row.failed,
                ]
                for row in rows
            ],
        )
    )
    print()
    print(_EXPLANATION.format(callers=options.callers, rounds=options.rounds, seconds=options.seconds))


if __name__ == "__main__":
    main()
