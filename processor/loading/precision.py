"""fp32 or bf16: loading a version in the one its manifest asks for, or in the one that its outputs allow."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corelane.processor.control.choices import Precision
from corelane.processor.engines import Engine, EngineOptions, load_engine
from corelane.processor.engines.onednn import best_isa, has_bf16
from corelane.processor.errors import LoadError, RequestError
from corelane.processor.loading.phases import LoadPhase, OnPhase, untold
from corelane.processor.manifest import DivergenceSettings
from corelane.processor.trials import samples
from corelane.processor.trials.draws import LIKELY, Draws, Shape, whole_examples
from corelane.processor.trials.hints import Hints, hints_of
from corelane.processor.trials.trials import Answer, Trials
from corelane.processor.wire.tensor_types import Signature, sparse_triples

ROWS_MIN = 1000  # of each signature, that bf16 is compared on
_WITH_BF16 = ("tensorflow", "openvino", "fused")
_MEMORY_BYTES = 64 << 20  # of requests and outputs to compare, by signature
_ROWS = 64
_WIDTHS = (4, 12, 1, 30)  # of open axes, such as histories
_SATURATED_EVERY = 8
_RUNS_MAX = 2 * ROWS_MIN


@dataclass(frozen=True, slots=True)
class _Run:
    signature: str
    inputs: samples.Inputs
    outputs: dict[str, np.ndarray]


@dataclass(slots=True)
class _Moves:
    """How far outputs in bf16 are from those in fp32. A relative move counts where it is over the absolute bound."""

    rows: int = 0
    relative: float = 0.0
    absolute: float = 0.0
    is_within: bool = True
    neighbours: int = 0  # in the order of a request's rows by an output
    swapped: int = 0

    def __str__(self) -> str:
        order = f"; {self.swapped} of {self.neighbours} neighbours in rank change places" if self.neighbours else ""
        return f"by up to {self.relative:.2%} and {self.absolute:.2g} on {self.rows} rows{order}"


def load_in_precision(
    engine: str,
    folder: Path,
    options: EngineOptions,
    bound: DivergenceSettings,
    bytes_max: int,
    on_phase: OnPhase = untold,
) -> tuple[Engine, Precision]:
    """Loads a version. `auto` takes bf16 where the processor has it and every output of every signature stays within
    the bound of fp32 on a thousand rows: recorded requests, and generated ones until there are so many. With fewer it
    is fp32, as it is if outputs differ that are not floats. LoadError if bf16 is asked for and cannot be had."""
    isa = best_isa()

    def load(name: str, why: str) -> tuple[Engine, Precision]:
        loaded = load_engine(engine, folder, dataclasses.replace(options, precision=name))
        return loaded, Precision(name=name, why=why, isa=isa)

    if options.precision == "fp32":
        return load("fp32", "asked for, or by default: precision: auto tries bf16")
    if options.precision == "int8":
        if engine != "fused":
            raise LoadError(f"precision: int8 is for the tables of fused plans, and this version runs on {engine}")
        return load("int8", "the manifest says so")
    if options.precision == "bf16":
        if engine in _WITH_BF16 and not has_bf16(isa):
            raise LoadError(
                f"precision: bf16 needs a processor with avx512_bf16 or amx_bf16, not {isa}; use auto or fp32"
            )
        return load("bf16", "the manifest says so")
    if engine not in _WITH_BF16:
        return load("fp32", f"engine {engine} has no bf16")
    if not has_bf16(isa):
        return load("fp32", f"the processor has no bf16 ({isa})")

    # One at a time: the two together may need more memory than the version may have.
    exact = load_engine(engine, folder, dataclasses.replace(options, precision="fp32"))
    runs, problem = _runs(exact, folder, bytes_max, on_phase)
    if problem is not None:
        return exact, Precision(name="fp32", why=problem, isa=isa)
    exact.unload()
    try:
        rounded, _ = load("bf16", "")
    except LoadError as error:
        return load("fp32", str(error))
    on_phase(LoadPhase.COMPARING, "")
    problem, moves = _compare(rounded, runs, bound)
    if problem is None and moves.is_within:
        why = f"it moves outputs {moves} (max_divergence {bound})"
        return rounded, Precision(name="bf16", why=why, isa=isa)
    rounded.unload()
    return load("fp32", problem or f"bf16 moves outputs {moves} (max_divergence {bound})")


def _runs(engine: Engine, folder: Path, bytes_max: int, on_phase: OnPhase) -> tuple[list[_Run], str | None]:
    """A thousand rows and more of each signature with their outputs in fp32, or why there are not so many."""
    recorded: dict[str, list[samples.Inputs]] = {}
    for signature, inputs in samples.recorded(folder, engine.signatures(), bytes_max):
        recorded.setdefault(signature.name, []).append(inputs)
    hints = hints_of(folder)
    runs: list[_Run] = []
    for signature in engine.signatures().values():
        if signature.effect:
            return runs, f"bf16 is untried: signature {signature.name} is not one to try ({signature.effect})"
        on_phase(LoadPhase.COMPARING, signature.name)
        rows = memory_bytes = 0
        for run in _runs_of(engine, signature, hints, recorded.get(signature.name, [])):
            runs.append(run)
            rows += _rows(signature, run.inputs)
            memory_bytes += sum(array.nbytes for array in (*run.inputs.values(), *run.outputs.values()))
            if rows >= ROWS_MIN or memory_bytes > _MEMORY_BYTES:
                break
        if rows < ROWS_MIN:
            why = (
                f"bf16 is untried: of signature {signature.name} {rows} rows can be compared, and {ROWS_MIN} should be"
            )
            return runs, f"{why}; record requests of it"
    return runs, None


def _runs_of(engine: Engine, signature: Signature, hints: Hints, recorded: Sequence[samples.Inputs]) -> Iterator[_Run]:
    """Without end, as long as the model takes what is made up: recorded requests first."""
    session = engine.make_session()

    def ask(inputs: samples.Inputs) -> Answer:
        try:
            return engine.run(session, signature, inputs, list(signature.outputs))
        except RequestError as error:
            return str(error)

    for inputs in recorded:
        if not isinstance(outputs := ask(inputs), str):
            yield _Run(signature.name, inputs, outputs)
    draws = Draws(signature, hints, 7, LIKELY)
    likely = Trials(draws, ask, _RUNS_MAX)
    list(likely.find_base(Shape.of(signature, _ROWS, _WIDTHS[0])))
    for number in range(_RUNS_MAX):
        shape = Shape.of(signature, _ROWS, _WIDTHS[number % len(_WIDTHS)])
        serialized = whole_examples(signature, hints, _ROWS, number)
        if serialized is not None and not isinstance(outputs := ask(serialized), str):
            yield _Run(signature.name, serialized, outputs)
            continue
        for trial in likely.next(shape):
            if isinstance(trial.answer, str):
                continue
            yield _Run(signature.name, trial.inputs, trial.answer)
            if number % _SATURATED_EVERY == 0:
                saturated = {**trial.inputs, **draws.saturated(shape)}
                if not isinstance(outputs := ask(saturated), str):
                    yield _Run(signature.name, saturated, outputs)
        if likely.is_spent:
            return


def _rows(signature: Signature, inputs: Mapping[str, np.ndarray]) -> int:
    """Of a request whose inputs have an open first axis; any other is one row."""
    triples = sparse_triples(signature)
    if triples:
        return int(inputs[triples[0].shape][0])
    open_axes = {name for name, spec in signature.inputs.items() if (spec.shape or (-1,))[0] == -1}
    return max((len(array) for name, array in inputs.items() if array.ndim and name in open_axes), default=1)


def _compare(engine: Engine, runs: Sequence[_Run], bound: DivergenceSettings) -> tuple[str | None, _Moves]:
    """What speaks against the engine's outputs whatever the bound is, and how far they are from fp32."""
    session, moves = engine.make_session(), _Moves()
    for run in runs:
        signature = engine.signatures()[run.signature]
        try:
            outputs = engine.run(session, signature, run.inputs, list(run.outputs))
        except RequestError as error:
            return f"in bf16 signature {run.signature} fails: {error}", moves
        moves.rows += _rows(signature, run.inputs)
        for name, expected in run.outputs.items():
            if not _add(moves, outputs[name], expected, bound):
                return f"output {name} of signature {run.signature} is another in bf16", moves
    return None, moves


def _add(moves: _Moves, rounded: np.ndarray, expected: np.ndarray, bound: DivergenceSettings) -> bool:
    """False if the arrays differ in more than floats' values."""
    if rounded.shape != expected.shape or rounded.dtype != expected.dtype:
        return False
    if expected.dtype.kind in "OiubSU":
        return np.array_equal(rounded, expected)
    kind = np.complex128 if expected.dtype.kind == "c" else np.float64
    left, right = rounded.astype(kind), expected.astype(kind)
    finite = np.isfinite(right)
    if not np.array_equal(np.isfinite(left), finite):
        return False
    moved, size = np.abs(left[finite] - right[finite]), np.abs(right[finite])
    moves.absolute = max(moves.absolute, float(moved.max(initial=0.0)))
    counted = (moved > bound.absolute) & (size > 0)
    moves.relative = max(moves.relative, float((moved[counted] / size[counted]).max(initial=0.0)))
    moves.is_within &= bool((moved <= bound.absolute + bound.relative * size).all())
    if expected.ndim and expected.shape[0] == expected.size and kind is np.float64 and finite.all():
        order = np.argsort(right.ravel(), kind="stable")
        ranked, now = right.ravel()[order], left.ravel()[order]
        apart = ranked[1:] > ranked[:-1]
        moves.neighbours += int(apart.sum())
        moves.swapped += int((apart & (now[1:] < now[:-1])).sum())
    return True
