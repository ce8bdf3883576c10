"""`python -m bench.python_path`: what a request costs where an engine is called through Python, as ONNX Runtime is.

CPU time in this process, in µs, from the request's bytes to the response's as a worker's session does it, and of ONNX
Runtime's own run among it; by number of float inputs and batch. The model adds its inputs up.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.environment import describe, header
from corelane.processor.channel.methods import Method
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.serving.inference import Inference
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.terminal import table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    inputs: int
    batch: int
    total_us: float
    run_us: float

    @property
    def python_us(self) -> float:
        return self.total_us - self.run_us


def _write_model(folder: Path, inputs: int) -> None:
    names = [f"x{number:03}" for number in range(inputs)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in names]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])
    graph = helper.make_graph([helper.make_node("Sum", names, ["y"])], "sum", values, [result])
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx")
    )


def _cpu_us(run: Callable[[], object], seconds: float) -> float:
    count, end_s, began_s = 0, time.perf_counter() + seconds, time.thread_time()
    while time.perf_counter() < end_s:
        run()
        count += 1
    return (time.thread_time() - began_s) * 1e6 / count


def measure(folder: Path, inputs: int, batch: int, rounds: int, seconds: float) -> Row:
    engine = load_engine("onnxruntime", folder, EngineOptions())
    inference = Inference(engine=engine, model="m", version=1, message_bytes_max=1 << 26)
    signature, session = engine.signatures()[DEFAULT_SIGNATURE], engine.make_session()
    arrays = {name: np.full(batch, 0.5, np.float32) for name in signature.inputs}
    message = messages.PredictRequest()
    for name, array in arrays.items():
        tensors.encode(array, message.inputs[name])
    request = message.SerializeToString()
    total, run = [], []
    for _ in range(rounds):
        total.append(_cpu_us(lambda: inference.handle(session, Method.PREDICT, request), seconds))
        run.append(_cpu_us(lambda: engine.run(session, signature, arrays, ["y"]), seconds))
    engine.unload()
    return Row(inputs=inputs, batch=batch, total_us=statistics.median(total), run_us=statistics.median(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a moment, with one input")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    counts: tuple[int, ...] = (1, 50, 200)
    if options.smoke:
        options.rounds, options.seconds, counts = 1, 0.05, (1,)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in counts:
            folder = Path(temporary) / f"inputs-{count}"
            _write_model(folder, count)
            rows += [measure(folder, count, batch, options.rounds, options.seconds) for batch in (1, 100)]
    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    print()
    columns = ["inputs", "batch", "total us", "ONNX Runtime us", "Python us"]
    found = [[r.inputs, r.batch, f"{r.total_us:.0f}", f"{r.run_us:.0f}", f"{r.python_us:.0f}"] for r in rows]
    print(table(columns, found))


if __name__ == "__main__":
    main()
