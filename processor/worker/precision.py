"""fp32 or bf16: loading a version in the one its manifest asks for, or in the one that its outputs allow."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processor.engines import Engine, EngineOptions, load_engine
from processor.engines.onednn import best_isa, has_bf16
from processor.errors import LoadError, RequestError
from processor.worker import samples

_logger = logging.getLogger(__name__)

_WITH_BF16 = ("tensorflow", "openvino", "fused")
_MEMORY_BYTES = 64 << 20  # of outputs to compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What was chosen, "fp32", "bf16" or "int8", and why in words; `isa` is what oneDNN takes on this processor."""

    name: str
    why: str
    isa: str


@dataclass(frozen=True, slots=True)
class _Run:
    signature: str
    inputs: samples.Inputs
    outputs: dict[str, np.ndarray]


def load_in_precision(
    engine: str, folder: Path, options: EngineOptions, max_divergence: float, bytes_max: int
) -> tuple[Engine, Precision]:
    """Loads a version. `auto` takes bf16 where the processor has it and no output differs from fp32 by more than
    `max_divergence` (absolute) on recorded requests or, without any, on generated inputs; a difference in outputs that
    are not floats counts as too much. LoadError if bf16 is asked for and cannot be had."""
    isa = best_isa()

    def load(name: str, why: str) -> tuple[Engine, Precision]:
        loaded = load_engine(engine, folder, dataclasses.replace(options, precision=name))
        return loaded, Precision(name=name, why=why, isa=isa)

    if options.precision == "fp32":
        return load("fp32", "the manifest says so")
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
    runs = list(_runs(exact, folder, bytes_max))
    if not runs:
        return exact, Precision(name="fp32", why="the model refuses generated inputs, so bf16 is untried", isa=isa)
    exact.unload()
    try:
        rounded, _ = load("bf16", "")
    except LoadError as error:
        return load("fp32", str(error))
    problem, largest = _compare(rounded, runs)
    if problem is None and largest <= max_divergence:
        rows = f"{len(runs)} request{'s' if len(runs) > 1 else ''}"
        why = f"outputs within {largest:.2g} of fp32 on {rows} (max_divergence {max_divergence:g})"
        return rounded, Precision(name="bf16", why=why, isa=isa)
    rounded.unload()
    return load("fp32", problem or f"bf16 is {largest:.2g} away on outputs (max_divergence {max_divergence:g})")


def _runs(engine: Engine, folder: Path, bytes_max: int) -> Iterator[_Run]:
    """Runs in fp32 to compare with: of recorded requests, and of made-up ones for signatures that have none."""
    held, seen = 0, set()
    for signature, inputs in samples.recorded(folder, engine.signatures(), bytes_max):
        if (taken := samples.first_taken(engine, signature, [inputs])) is not None:
            seen.add(signature.name)
            run = _Run(signature.name, *taken)
            held += sum(array.nbytes for array in (*run.inputs.values(), *run.outputs.values()))
            yield run
        if held > _MEMORY_BYTES:
            break
    for signature in engine.signatures().values():
        if signature.name not in seen:
            taken = samples.first_taken(engine, signature, samples.made_up(signature))
            if taken is not None:
                yield _Run(signature.name, *taken)


def _compare(engine: Engine, runs: Sequence[_Run]) -> tuple[str | None, float]:
    """What speaks against the engine's outputs in any case, and the largest difference of a float."""
    session, largest = engine.make_session(), 0.0
    for run in runs:
        signature = engine.signatures()[run.signature]
        try:
            outputs = engine.run(session, signature, run.inputs, list(run.outputs))
        except RequestError as error:
            return f"in bf16 signature {run.signature} fails: {error}", largest
        for name, expected in run.outputs.items():
            difference = _difference(outputs[name], expected)
            if difference is None:
                return f"output {name} of signature {run.signature} is another in bf16", largest
            largest = max(largest, difference)
    return None, largest


def _difference(found: np.ndarray, expected: np.ndarray) -> float | None:
    """The largest of two arrays; None if they differ in more than floats' values."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return None
    if expected.dtype.kind in "OiubSU":
        return 0.0 if np.array_equal(found, expected) else None
    kind = np.complex128 if expected.dtype.kind == "c" else np.float64
    left, right = found.astype(kind), expected.astype(kind)
    if not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return None
    finite = np.isfinite(left)
    return float(np.abs(left[finite] - right[finite]).max(initial=0.0))
