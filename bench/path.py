"""`python -m bench.path`: where the CPU time of a request goes, in µs, by number of string inputs and batch.

The channel, the decoder, the engine and the encoder are measured in this process, with a calling thread for a gateway
and one session; the gateways' own cost by calling a server over gRPC. The models hash their strings and add them up, so
that the engine's part is mostly its own handling of inputs.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import models, prepared, serving
from bench.environment import describe, header
from bench.rig import Rig
from corelane.processor.engines import EngineOptions, NativeEngine, load_engine
from corelane.processor.wire import messages, tensors
from corelane.terminal import table
from tests.support.server import Server
from tests.support.server import serving as running_server

_EXPLANATION = """\
bytes       of the request
gateway     CPU time of the gateway processes for a call over gRPC, their end of the channel included
channel     CPU time of calling thread and session together, less the next three: copying the request in and the answer
            out, waking each other, counting
decode      from the request's bytes to the engine's input tensors
run         in the engine
encode      from the engine's output tensors to the response's bytes
c + d + e   channel + decode + encode; targets at 200 inputs: 60 us at batch 1, 500 us at batch 100
All are means over a round, medians of {rounds} rounds, by models of string inputs in turn; 8 to 15 bytes a string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    inputs: int
    batch: int
    bytes: int
    gateway_us: float
    channel_us: float
    decode_us: float
    run_us: float
    encode_us: float

    @property
    def own_us(self) -> float:
        return self.channel_us + self.decode_us + self.encode_us


def measure_stages(rig: Rig, request: bytes, seconds: float) -> dict[str, float]:
    """µs a request, by stage, of one session that this thread calls."""
    before, cpu_ns = rig.channel.statistics(), time.thread_time_ns() + rig.sessions_cpu_ns()
    end_s, calls = time.perf_counter() + seconds, 0
    while time.perf_counter() < end_s:
        rig.call(request)
        calls += 1
    cpu_ns = time.thread_time_ns() + rig.sessions_cpu_ns() - cpu_ns
    after = rig.channel.statistics()
    stages = {name: after[f"{name}_ns"] - before[f"{name}_ns"] for name in ("decode", "engine", "encode")}
    stages["channel"] = cpu_ns - sum(stages.values())
    return {name: spent / calls / 1000 for name, spent in stages.items()}


def request_of(model: str, inputs: int, batch: int) -> bytes:
    message = messages.PredictRequest()
    message.model_spec.name = model
    for name, array in models.string_inputs(inputs, batch).items():
        tensors.encode(array, message.inputs[name])
    data: bytes = message.SerializeToString()
    return data


def measure(
    server: Server, engine: NativeEngine, inputs: int, batch: int, options: argparse.Namespace, folder: Path
) -> Row:
    model = f"inputs-{inputs}"
    request = request_of(model, inputs, batch)
    file = folder / f"{model}-{batch}.request"
    file.write_bytes(request)
    rig = Rig(engine)
    rig.place(1)
    measure_stages(rig, request, options.seconds / 4)
    rounds, gateway_us = [], []
    for _ in range(options.rounds):
        rounds.append(measure_stages(rig, request, options.seconds))
        over_grpc, failed = serving.over_grpc(server, model, file, 2, options.seconds)
        assert failed == 0
        gateway_us.append(over_grpc.gateway_us)
    rig.stop()
    stages = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return Row(
        inputs=inputs,
        batch=batch,
        bytes=len(request),
        gateway_us=statistics.median(gateway_us),
        channel_us=stages["channel"],
        decode_us=stages["decode"],
        run_us=stages["engine"],
        encode_us=stages["encode"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one round of a moment each, on one input only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    counts: tuple[int, ...] = models.PATH_INPUTS
    if options.smoke:
        options.rounds, options.seconds, counts = 1, 0.1, (1,)

    rows: list[Row] = []
    root = prepared.models(*(f"inputs-{count}" for count in counts))
    entries = [f"{{name: inputs-{count}, path: {root}/inputs-{count}}}" for count in counts]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with running_server(folder, f"models: [{', '.join(entries)}]") as server:
            for count in counts:
                print(f"measuring {count} inputs ...", file=sys.stderr, flush=True)
                engine = load_engine("tensorflow", root / f"inputs-{count}/1", EngineOptions())
                assert isinstance(engine, NativeEngine)
                rows += [measure(server, engine, count, batch, options, folder) for batch in (1, 100)]

    if options.json:
        print(json.dumps({"environment": describe(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    print()
    columns = ["inputs", "batch", "bytes", "gateway us", "channel us", "decode us", "run us", "encode us", "c + d + e"]
    print(
        table(
            columns,
            [
                [
                    row.inputs,
                    row.batch,
                    row.bytes,
                    f"{row.gateway_us:.0f}",
                    *(f"{value:.1f}" for value in (row.channel_us, row.decode_us, row.run_us, row.encode_us)),
                    f"{row.own_us:.1f}",
                ]
                for row in rows
            ],
        )
    )
    print()
    print(_EXPLANATION.format(rounds=options.rounds))


if __name__ == "__main__":
    main()
