"""Which engine runs a version, once a SavedModel has been tried as a fused plan."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from corelane.processor.control.choices import Choice
from corelane.processor.engines import choose_engine
from corelane.processor.engines.onednn import best_isa, has_bf16
from corelane.processor.engines.selection import PLAN, is_installed
from corelane.processor.errors import LoadError
from corelane.processor.loading.phases import OnPhase, untold
from corelane.processor.wire.tensor_types import SERVE_TAGS

# A version that nobody asked to be fused must still be there within load_timeout_s, on a busy pool, too.
_AUTO_LIMIT_S = 240.0


def choose(
    folder: Path,
    wanted: str,
    cache: Path,
    op_libraries: Sequence[str] = (),
    tags: Sequence[str] = SERVE_TAGS,
    *,
    precision: str = "fp32",
    sandbox: str = "auto",
    on_phase: OnPhase = untold,
) -> Choice:
    """A SavedModel for engine `fused` is compiled, unless `cache` has its plan. With `auto` every SavedModel is
    tried, and TensorFlow runs what is not fused. LoadError if nothing can run the version.

    Runs nothing of the model in this process, nor reads what only an engine understands: `sandbox` is for the process
    that compiles."""
    choice = _choose(folder, wanted, cache, op_libraries, tags, sandbox, on_phase)
    if choice.engine == "fused" and precision != "fp32":
        from corelane.processor.plans.tables import TABLES, TableStore

        kind = precision if precision != "auto" else "bf16" if has_bf16(best_isa()) else "fp32"
        return dataclasses.replace(
            choice, tables=TableStore(cache / TABLES).converted(Path(choice.folder), kind) if kind != "fp32" else {}
        )
    return choice


def _choose(
    folder: Path,
    wanted: str,
    cache: Path,
    op_libraries: Sequence[str],
    tags: Sequence[str],
    sandbox: str,
    on_phase: OnPhase,
) -> Choice:
    engine = choose_engine(folder, wanted)
    if not _is_tried(folder, engine, wanted):
        why = "the files are made for it" if wanted == "auto" else "the manifest says so"
        return Choice(engine=engine, folder=str(folder), why=why)
    # Only a compilation needs both TensorFlow's and OpenVINO's sides.
    from corelane.processor.plans import fusing

    try:
        is_auto = wanted == "auto"
        limit_s = _AUTO_LIMIT_S if is_auto else None
        plan, found = fusing.plan_of(
            folder, cache, op_libraries, limit_s, must_gain=is_auto, tags=tags, sandbox=sandbox, on_phase=on_phase
        )
    except LoadError as error:
        if wanted != "auto":
            raise
        return Choice(engine=engine, folder=str(folder), why=str(error))
    return Choice(engine="fused", folder=str(plan), why=found)


def chosen_before(
    folder: Path, wanted: str, cache: Path, op_libraries: Sequence[str] = (), tags: Sequence[str] = SERVE_TAGS
) -> tuple[str, Path]:
    """The engine and the folder of an earlier choice; without one, what `choose_engine` says. Compiles nothing."""
    engine = choose_engine(folder, wanted)
    if _is_tried(folder, engine, wanted):
        from corelane.processor.plans import fusing

        plan = fusing.kept_plan(folder, cache, op_libraries, must_gain=wanted == "auto", tags=tags)
        if plan is not None:
            return "fused", plan
    return engine, folder


def _is_tried(folder: Path, engine: str, wanted: str) -> bool:
    if (folder / PLAN).exists():
        return False
    return engine == "fused" or (engine == "tensorflow" and wanted == "auto" and is_installed("fused"))
