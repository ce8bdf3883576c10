"""Loading a version: from a WorkerSpec to warm sessions behind a channel, ready to start."""

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corelane.processor import _native
from corelane.processor.control.choices import Choice, Precision
from corelane.processor.control.worker_spec import WorkerSpec
from corelane.processor.engines import EngineOptions
from corelane.processor.errors import LoadError
from corelane.processor.knobs import cache_folder
from corelane.processor.loading.phases import LoadPhase, OnPhase, untold
from corelane.processor.loading.precision import load_in_precision
from corelane.processor.loading.profiling import ProfileFile, profile
from corelane.processor.loading.warm_up import warm_up
from corelane.processor.manifest import DivergenceSettings
from corelane.processor.worker.session_group import SessionGroup
from corelane.scheduler import Profile

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """`notes` say what of the version is not served, or not as one might expect."""

    choice: Choice
    precision: Precision
    profile: Profile
    load_s: float
    warm_up_s: float
    group: SessionGroup
    notes: list[str]


def _original_of(plan: Path, spec: WorkerSpec) -> Path:
    """The SavedModel of a plan that was compiled for this version."""
    if plan == Path(spec.folder):
        raise LoadError(f"{plan} does not hold it; compile the plan again")
    from corelane.processor.plans.fusing import original_of

    cache = Path(spec.profile_folder) if spec.profile_folder else cache_folder()
    return original_of(plan, Path(spec.folder), cache, spec.op_libraries, spec.saved_model_tags)


def load_version(
    spec: WorkerSpec,
    choice: Choice,
    channel: _native.SharedChannel,
    allowed: Sequence[int],
    cores_max: int,
    gate: _native.PoolGate | None = None,
    member: int = 0,
    kept: ProfileFile | None = None,
    on_phase: OnPhase = untold,
) -> LoadedVersion:
    """Loads and warms up; starts no thread that will run requests. LoadError says what is wrong with the version.
    `kept` is where its profile is read, or written. With `auto` TensorFlow runs a version whose plan cannot be loaded:
    that is made of the version, and is not the version."""
    try:
        return _load(spec, choice, channel, allowed, cores_max, gate, member, kept, on_phase)
    except LoadError as error:
        if spec.engine != "auto" or choice.folder == spec.folder:
            raise
        _logger.warning("the plan in %s cannot be loaded, and TensorFlow runs the version: %s", choice.folder, error)
        why = f"its plan cannot be loaded: {error}"
    gc.collect()
    original = Choice(engine="tensorflow", folder=spec.folder, why=why)
    return _load(spec, original, channel, allowed, cores_max, gate, member, None, on_phase)


def _load(
    spec: WorkerSpec,
    choice: Choice,
    channel: _native.SharedChannel,
    allowed: Sequence[int],
    cores_max: int,
    gate: _native.PoolGate | None,
    member: int,
    kept: ProfileFile | None,
    on_phase: OnPhase,
) -> LoadedVersion:
    started_s = time.monotonic()
    on_phase(LoadPhase.READING, "")
    folder = Path(choice.folder)
    options = EngineOptions(
        sessions=spec.sessions,
        threads_per_session=spec.threads_per_session,
        precision=spec.precision,
        op_libraries=spec.op_libraries,
        saved_model_tags=spec.saved_model_tags,
        tables=choice.tables,
        batching=spec.batch_rows_max > 0,
        original=lambda: _original_of(folder, spec),
    )
    bound = DivergenceSettings(relative=spec.divergence_relative, absolute=spec.divergence_absolute)
    try:
        engine, precision = load_in_precision(choice.engine, folder, options, bound, spec.message_bytes_max, on_phase)
        sessions = [engine.make_session() for _ in range(spec.sessions)]
        warming_s = time.monotonic()
        warm_up(engine, sessions, folder, spec.message_bytes_max, on_phase)
        warm_up_s = time.monotonic() - warming_s
        measured = profile(engine, folder, precision.name, spec.threads_per_session, kept, on_phase)
    except MemoryError as error:
        raise LoadError("the load ran out of memory") from error
    gc.collect()
    gc.freeze()  # the engine's objects live as long as the process; a collection need not walk them
    group = SessionGroup(
        spec=spec,
        engine=engine,
        sessions=sessions,
        channel=channel,
        allowed=allowed,
        cores_max=cores_max,
        gate=gate,
        member=member,
    )
    notes = [*engine.notes, *(f"signature {name} is not served: {why}" for name, why in engine.unserved.items())]
    for signature in engine.signatures().values():
        if signature.effect:
            notes.append(f"signature {signature.name} is neither warmed up nor profiled: {signature.effect}")
        elif spec.batch_rows_max and signature.joins_rows:
            notes.append(f"requests of signature {signature.name} run one by one: {signature.joins_rows}")
    for note in notes:
        _logger.warning("%s", note)
    load_s = time.monotonic() - started_s
    return LoadedVersion(
        choice=choice,
        precision=precision,
        profile=measured,
        load_s=load_s,
        warm_up_s=warm_up_s,
        group=group,
        notes=notes,
    )
