"""Which engine runs a version, once a SavedModel has been tried as a fused plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processor.engines import choose_engine
from processor.engines.selection import PLAN, is_installed
from processor.errors import LoadError
from processor.tensors import SERVE_TAGS

# A version that nobody asked to be fused must still be there within load_timeout_s, on a busy pool, too.
_AUTO_LIMIT_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine of a version, the folder that it loads, and why."""

    engine: str
    folder: str
    why: str


def choose(
    folder: Path, wanted: str, cache: Path, op_libraries: Sequence[str] = (), tags: Sequence[str] = SERVE_TAGS
) -> Choice:
    """A SavedModel for engine `fused` is compiled here, unless `cache` has its plan. With `auto` every SavedModel is
    tried, and TensorFlow runs what is not fused. LoadError if nothing can run the version."""
    engine = choose_engine(folder, wanted)
    if not _is_tried(folder, engine, wanted):
        why = "the files are made for it" if wanted == "auto" else "the manifest says so"
        return Choice(engine=engine, folder=str(folder), why=why)
    # Only a compilation needs both TensorFlow's and OpenVINO's sides.
    from processor.worker import fusing

    try:
        is_auto = wanted == "auto"
        limit_s = _AUTO_LIMIT_S if is_auto else None
        plan, found = fusing.plan_of(folder, cache, op_libraries, limit_s, must_gain=is_auto, tags=tags)
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
        from processor.worker import fusing

        plan = fusing.kept_plan(folder, cache, op_libraries, must_gain=wanted == "auto", tags=tags)
        if plan is not None:
            return "fused", plan
    return engine, folder


def _is_tried(folder: Path, engine: str, wanted: str) -> bool:
    if (folder / PLAN).exists():
        return False
    return engine == "fused" or (engine == "tensorflow" and wanted == "auto" and is_installed("fused"))
