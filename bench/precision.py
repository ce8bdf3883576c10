"""`python -m bench.precision`: what bf16 gains, and int8 tables, and what they cost in accuracy.

Every model is loaded in fp32 and in less, and run in turn on this thread. On a processor without bf16, oneDNN emulates
it with AVX-512: the outputs are then what they would be elsewhere, the times are not.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bench import models, prepared
from bench.environment import describe, header
from corelane.demo.clicks import auc
from corelane.demo.traffic import inputs_of
from corelane.kernels import instruction_sets
from corelane.processor.engines import Engine, EngineOptions, choose_engine, load_engine
from corelane.processor.engines.onednn import best_isa, has_bf16
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from corelane.terminal import table

_AUC_ROWS = 20_000
_AUC_STEP = 1000

_EXPLANATION = """\
fp32, less  CPU time of a run in ms on one thread, median of {rounds} rounds in turn
ratio       fp32 by less, median over the rounds; target 1.6 for bf16 on the dense part at batch 100
difference  the largest of an output between the two, on these inputs
AUC         on {auc} rows never seen in training; target: within 0.001 of each other
int8        only the tables of fused plans; bf16 is their tables and the dense part
dense part  the MLP of the 200-column model, 3213-1024-512-256-1, by itself"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    name: str
    engine: str
    folder: Path
    inputs: Callable[[int], dict[str, np.ndarray]]
    demo_model: str = ""  # with an AUC, if it is one of the demo's
    precision: str = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model: str
    engine: str
    precision: str
    batch: int
    fp32_ms: float
    less_ms: float
    ratio: float
    difference: float
    auc_fp32: float | None = None
    auc_less: float | None = None


def _run(engine: Engine, session: object, inputs: dict[str, np.ndarray]) -> np.ndarray:
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    output = next(iter(signature.outputs))
    return engine.run(session, signature, inputs, [output])[output]


def _auc(engine: Engine, model: str) -> float:
    clicks, session = prepared.demo_clicks(_AUC_ROWS), engine.make_session()
    scores = [
        _run(engine, session, inputs_of(model, clicks.rows(start, start + _AUC_STEP)))
        for start in range(0, _AUC_ROWS, _AUC_STEP)
    ]
    return auc(clicks.labels, np.concatenate(scores))


def measure(contestant: Contestant, batches: tuple[int, ...], rounds: int, seconds: float) -> list[Row]:
    engines = {
        precision: load_engine(contestant.engine, contestant.folder, EngineOptions(precision=precision))
        for precision in ("fp32", contestant.precision)
    }
    sessions = {precision: engine.make_session() for precision, engine in engines.items()}
    accuracy = (
        dict.fromkeys(engines, None)
        if not contestant.demo_model
        else {precision: _auc(engine, contestant.demo_model) for precision, engine in engines.items()}
    )
    rows = []
    less = contestant.precision
    for batch in batches:
        inputs = contestant.inputs(batch)
        outputs = {precision: _run(engine, sessions[precision], inputs) for precision, engine in engines.items()}
        found: dict[str, list[float]] = {precision: [] for precision in engines}
        for _ in range(rounds):
            for precision, engine in engines.items():
                found[precision].append(_cpu_ms(lambda: _run(engine, sessions[precision], inputs), seconds))  # noqa: B023
        rows.append(
            Row(
                model=contestant.name,
                engine=contestant.engine,
                precision=less,
                batch=batch,
                fp32_ms=statistics.median(found["fp32"]),
                less_ms=statistics.median(found[less]),
                ratio=statistics.median(a / b for a, b in zip(found["fp32"], found[less], strict=True)),
                difference=float(np.abs(outputs["fp32"] - outputs[less]).max()),
                auc_fp32=accuracy["fp32"],
                auc_less=accuracy[less],
            )
        )
    for engine in engines.values():
        engine.unload()
    return rows


def _cpu_ms(run: Callable[[], object], seconds: float) -> float:
    """CPU time of this thread by run."""
    count, end_s, began_s = 0, time.perf_counter() + seconds, time.thread_time()
    while count == 0 or time.perf_counter() < end_s:
        run()
        count += 1
    return (time.thread_time() - began_s) * 1000 / count


def _contestants(smoke: bool) -> list[Contestant]:
    if smoke:
        root = prepared.models("small")
        return [Contestant(name="small", engine="tensorflow", folder=root / "small/1", inputs=models.small_inputs)]
    root = prepared.models("mlp", "mlp-onnx", "columns")
    clicks = prepared.demo_clicks(200)
    found = [
        Contestant(name="dense part", engine="tensorflow", folder=root / "mlp/1", inputs=models.mlp_inputs),
        Contestant(name="dense part", engine="openvino", folder=root / "mlp-onnx/1", inputs=models.mlp_inputs),
        Contestant(name="columns", engine="tensorflow", folder=root / "columns/1", inputs=models.columns_inputs),
    ]
    for name, folder in prepared.demo_models().items():
        model = folder.parent.name
        engine = choose_engine(folder)
        first = Contestant(
            name=name,
            engine="openvino" if engine == "onnxruntime" else engine,
            folder=folder,
            inputs=lambda rows, model=model: inputs_of(model, clicks.rows(0, rows)),  # type: ignore[misc]
            demo_model=model,
        )
        found.append(first)
        if engine == "tensorflow":
            plan, _ = prepared.plan(name, folder)
            fused = replace(first, engine="fused", folder=plan)
            found += [fused, replace(fused, precision="int8")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one round of a moment, on the small model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    options = parser.parse_args()
    batches: tuple[int, ...] = (1, 100)
    if options.smoke:
        options.rounds, options.seconds, batches = 1, 0.05, (1,)
    if "avx512f" not in instruction_sets():
        raise SystemExit("bench.precision needs a processor with AVX-512: oneDNN has no bf16 on this one")

    rows: list[Row] = []
    for contestant in _contestants(options.smoke):
        print(f"measuring {contestant.name} by {contestant.engine} ...", file=sys.stderr, flush=True)
        rows += measure(contestant, batches, options.rounds, options.seconds)
    isa = best_isa()
    if options.json:
        environment = {**describe(), "oneDNN": isa}
        print(json.dumps({"environment": environment, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(header())
    print(f"{'oneDNN':<17} {isa}" + ("" if has_bf16(isa) else ": bf16 is EMULATED, its times mean nothing"))
    print()
    columns = ["model", "engine", "less", "batch", "fp32 ms", "less ms", "ratio", "difference", "AUC fp32", "AUC less"]
    print(
        table(
            columns,
            [
                [
                    row.model,
                    row.engine,
                    row.precision,
                    row.batch,
                    f"{row.fp32_ms:.3f}",
                    f"{row.less_ms:.3f}",
                    f"{row.ratio:.2f}",
                    f"{row.difference:.1g}",
                    None if row.auc_fp32 is None else f"{row.auc_fp32:.4f}",
                    None if row.auc_less is None else f"{row.auc_less:.4f}",
                ]
                for row in rows
            ],
        )
    )
    print()
    print(_EXPLANATION.format(rounds=options.rounds, auc=_AUC_ROWS))


if __name__ == "__main__":
    main()
