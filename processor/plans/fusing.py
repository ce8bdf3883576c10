"""Fused plans for versions: compiled, compared with the original, and kept for the next load.

`python -m corelane.processor.plans.fusing PARENT FOLDER OUT TAGS SANDBOX [OP_LIBRARY...]` is how a worker compiles: in
a process of its own, so that TensorFlow's memory goes when the plan is there, and so that what runs the model writes
nowhere but to OUT's folder. TAGS are a list in JSON. It prints what became of it as JSON.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from corelane.kernels.compiler import NotFused
from corelane.processor.control.connection import die_with_parent
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.selection import is_installed
from corelane.processor.errors import CorelaneError, EngineMissing, LoadError
from corelane.processor.knobs import CACHE
from corelane.processor.loading.content import content_key, readable_content
from corelane.processor.loading.phases import LoadPhase, OnPhase, OnStep, unheard, untold
from corelane.processor.plans.compiler import SignatureReport, compile_saved_model, package_versions
from corelane.processor.plans.equality import Equality, compare
from corelane.processor.plans.fused_engine import SCHEMA
from corelane.processor.plans.speed import Cost, compare_cost, gain, worst
from corelane.processor.plans.store import KeptPlan, Outcome
from corelane.processor.system.sandbox import contain
from corelane.processor.trials import samples
from corelane.processor.trials.hints import hints_of
from corelane.processor.wire.tensor_types import SERVE_TAGS

# With less than that at some batch, TensorFlow behind the features is tried; it takes memory that OpenVINO does not.
_GAIN_ENOUGH = 1.5
_GAIN_TO_CHANGE = 1.1
_COMPILER = 8  # changes when plans of the same model do


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`costs` are the original's and the plan's."""

    reports: Sequence[SignatureReport]
    equality: Equality
    costs: Sequence[Cost]


class NotWritten(LoadError):
    """A plan that there was no room for. That says nothing of the model."""


class PlanDiffers(NotFused):
    """A plan that answers otherwise than its original. `has_openvino`: OpenVINO runs a part of it."""

    def __init__(self, message: str, *, has_openvino: bool) -> None:
        super().__init__(message)
        self.has_openvino = has_openvino


def compile_and_compare(
    folder: Path,
    out: Path,
    op_libraries: Sequence[str] = (),
    stop_after: int | None = None,
    *,
    carry: bool = True,
    tags: Sequence[str] = SERVE_TAGS,
    on_step: OnStep = unheard,
) -> Result:
    """Writes the plan of the SavedModel in `folder` to `out`, with the SavedModel in it if told to `carry` it.
    LoadError, and no plan, if it cannot be fused or does not answer as the original does; NotWritten if `out` cannot be
    written.

    OpenVINO runs what is behind the features, if it can; TensorFlow if it cannot, answers otherwise, or is found to be
    quicker at it."""
    if not (folder / "saved_model.pb").exists():
        raise LoadError(f"{folder} holds no saved_model.pb; only SavedModels are compiled")
    if not (is_installed("tensorflow") and is_installed("openvino")):
        raise EngineMissing("fused")
    if out.exists():
        raise LoadError(f"{out} is there already; choose another folder, or remove it")
    # The plan appears when it is known to be right.
    unfinished, other = (out.with_name(f".{out.name}.{os.getpid()}{suffix}") for suffix in ("", ".tensorflow"))
    compilation = _Compilation(folder, tuple(op_libraries), stop_after, carry, tuple(tags), on_step)
    try:
        try:
            found = compilation.run(unfinished)
        except PlanDiffers as error:
            if not error.has_openvino:
                raise
            shutil.rmtree(unfinished)
            found = compilation.run(unfinished, f"with OpenVINO {error}")
        before = worst(found.costs)
        if before < _GAIN_ENOUGH and any(not one.why_tensorflow and not one.why_not for one in found.reports):
            # That it cannot be done is no reason against the plan that is there.
            with contextlib.suppress(NotFused):
                again = compilation.run(other, "it is quicker at it here than OpenVINO")
                if worst(again.costs) > before * _GAIN_TO_CHANGE:
                    shutil.rmtree(unfinished)
                    other.rename(unfinished)
                    found = again
        if (recorded := folder / samples.RECORDED).is_file():
            (unfinished / samples.RECORDED).parent.mkdir()
            shutil.copyfile(recorded, unfinished / samples.RECORDED)
        unfinished.rename(out)
    except NotFused as error:
        raise LoadError(f"{folder} is not fused: {error}") from error
    except OSError as error:
        raise NotWritten(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(other, ignore_errors=True)
    return found


@dataclass(frozen=True, slots=True)
class _Compilation:
    folder: Path
    op_libraries: tuple[str, ...]
    stop_after: int | None
    carry: bool
    tags: tuple[str, ...]
    on_step: OnStep

    def run(self, out: Path, why_tensorflow: str = "") -> Result:
        """NotFused if there is no plan, or one that answers otherwise."""
        behind = "TensorFlow" if why_tensorflow else "OpenVINO"
        self.on_step(f"compiling, with {behind} behind the features", 0, 0)
        reports = compile_saved_model(
            self.folder,
            out,
            self.op_libraries,
            self.stop_after,
            why_tensorflow,
            carry=self.carry,
            tags=self.tags,
        )
        options = EngineOptions(
            op_libraries=self.op_libraries, saved_model_tags=self.tags, original=lambda: self.folder
        )
        self.on_step("loading the plan and the original", 0, 0)
        original = load_engine("tensorflow", self.folder, options)
        plan = load_engine("fused", out, options)
        equality = compare(original, plan, self.folder, hints_of(out), on_step=self.on_step)
        if equality.problem is not None:
            raise PlanDiffers(
                f"the plan differs from the original: {equality.problem}",
                has_openvino=any(not report.why_tensorflow and not report.why_not for report in reports),
            )
        self.on_step("measuring both", 0, 0)
        return Result(reports=reports, equality=equality, costs=compare_cost(original, plan, self.folder))


def plan_of(
    folder: Path,
    cache: Path,
    op_libraries: Sequence[str] = (),
    limit_s: float | None = None,
    *,
    must_gain: bool = False,
    tags: Sequence[str] = SERVE_TAGS,
    sandbox: str = "auto",
    on_phase: OnPhase = untold,
) -> tuple[Path, str]:
    """The plan of the SavedModel in `folder`, compiled now unless `cache` has it whole, and what is known of it in
    words. LoadError if there is none, which is kept, too; or if it takes longer than `limit_s` or cannot be kept, which
    are not; or if it must gain something, and does not. The model runs in a process of its own, in a sandbox."""
    kept = _kept(folder, cache, op_libraries, tags)
    outcome = kept.read()
    if outcome is None:
        on_phase(LoadPhase.COMPILING, "")
        outcome = kept.make(lambda out: _compile_apart(folder, out, op_libraries, limit_s, tags, sandbox))
    if "error" in outcome:
        raise LoadError(outcome["error"])
    gained = _gained(outcome)
    if must_gain and gained < 1:
        raise LoadError(
            f"a plan was made, but costs {1 / gained:.2f} times what TensorFlow does; engine: fused takes it"
        )
    return kept.folder, _describe(outcome)


def kept_plan(
    folder: Path,
    cache: Path,
    op_libraries: Sequence[str] = (),
    *,
    must_gain: bool = False,
    tags: Sequence[str] = SERVE_TAGS,
) -> Path | None:
    """The plan of the SavedModel in `folder`, if it was compiled before, and gains something if it must."""
    kept = _kept(folder, cache, op_libraries, tags)
    outcome = kept.read()
    if outcome is None or "error" in outcome:
        return None
    return kept.folder if not must_gain or _gained(outcome) >= 1 else None


def original_of(
    plan: Path, folder: Path, cache: Path, op_libraries: Sequence[str] = (), tags: Sequence[str] = SERVE_TAGS
) -> Path:
    """`folder`, if the kept plan is still that of the SavedModel in it. LoadError if not: files that changed under a
    plan would answer as another model."""
    if not folder.is_dir() or _kept(folder, cache, op_libraries, tags).folder != plan:
        raise LoadError(f"the files in {folder} are gone, or others than those that the plan was made of")
    return folder


def _gained(outcome: Outcome) -> float:
    return gain([Cost(**cost) for cost in outcome["costs"]])


def _describe(outcome: Outcome) -> str:
    """What is known of a plan, in words."""
    columns = max(report["columns"] for report in outcome["reports"])
    accepted = outcome["equality"]["accepted"]
    why = next((report["why_tensorflow"] for report in outcome["reports"] if report["why_tensorflow"]), "")
    rest = f"; TensorFlow runs the rest: {why}" if why else ""
    fast = f", {_gained(outcome):.1f}x as fast" if outcome["costs"] else ""
    return f"{columns} columns fused; equal to TensorFlow on {accepted} requests{fast}{rest}"


def _kept(folder: Path, cache: Path, op_libraries: Sequence[str], tags: Sequence[str]) -> KeptPlan:
    versions = tuple(package_versions().items())
    about = (_COMPILER, SCHEMA, versions, tuple(tags))
    return KeptPlan(cache, content_key(folder, *about, libraries=op_libraries))


def _compile_apart(
    folder: Path, out: Path, op_libraries: Sequence[str], limit_s: float | None, tags: Sequence[str], sandbox: str
) -> Outcome:
    arguments = [str(os.getpid()), str(folder), str(out), json.dumps(list(tags)), sandbox, *op_libraries]
    command = [sys.executable, "-P", "-m", "corelane.processor.plans.fusing", *arguments]
    # OpenVINO's Python crashes with the allocator of TensorFlow's workers.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    environment |= {"HOME": str(out.parent), "TMPDIR": str(out.parent), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise LoadError(
            f"compiling {folder} takes longer than {limit_s:.0f} s; `engine: fused` has as long as load_timeout_s"
        ) from error
    try:
        found: Outcome = json.loads(done.stdout.splitlines()[-1])
        if not found.keys() & {"error", "not_written"}:
            _describe(found)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        # It died: that is not the model's word, and so not kept.
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise LoadError(f"compiling {folder} ended with {done.returncode}: {last[0][:300]}") from None
    if "not_written" in found:
        raise LoadError(f"a plan cannot be kept: {found['not_written']}; set {CACHE} to a folder that can be written")
    return found


def main(arguments: Sequence[str]) -> None:
    parent, folder, out, tags, sandbox, *op_libraries = arguments
    die_with_parent(int(parent))
    content = readable_content(Path(folder))
    contain(
        sandbox,
        [Path(folder), *content.linked, *map(Path, op_libraries)],
        writable=[Path(out).parent],
        listed=content.folders,
    )
    try:
        # The version's folder is there as long as the plan is served; a copy of it would double what a model takes.
        found = asdict(compile_and_compare(Path(folder), Path(out), op_libraries, carry=False, tags=json.loads(tags)))
    except NotWritten as error:
        found = {"not_written": str(error)}
    except CorelaneError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
