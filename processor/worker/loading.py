"""Loading a version: from a WorkerSpec to warm sessions behind a channel, ready to start."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processor import _native
from processor.engines import EngineOptions, choose_engine
from processor.engines.selection import PLAN, is_installed
from processor.errors import LoadError
from processor.knobs import cache_folder
from processor.worker.precision import Precision, load_in_precision
from processor.worker.profiling import profile
from processor.worker.session_group import SessionGroup
from processor.worker.spec import WorkerSpec
from processor.worker.warm_up import warm_up
from scheduler import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    engine: str
    engine_why: str
    precision: Precision
    profile: Profile
    load_s: float
    group: SessionGroup


def load_version(
    spec: WorkerSpec,
    channel: _native.SharedChannel,
    allowed: Sequence[int],
    cores_max: int,
    gate: _native.PoolGate | None = None,
    member: int = 0,
) -> LoadedVersion:
    """Loads and warms up; starts no thread that will run requests. LoadError says what is wrong with the version."""
    started_s = time.monotonic()
    cache = Path(spec.profile_folder) if spec.profile_folder else None
    engine_name, folder, engine_why = _engine_of(spec, cache)
    options = EngineOptions(
        sessions=spec.sessions,
        threads_per_session=spec.threads_per_session,
        precision=spec.precision,
        op_libraries=spec.op_libraries,
    )
    try:
        engine, precision = load_in_precision(engine_name, folder, options, spec.max_divergence, spec.message_bytes_max)
        sessions = [engine.make_session() for _ in range(spec.sessions)]
        warm_up(engine, sessions, folder, spec.message_bytes_max)
        measured = profile(engine, folder, precision.name, spec.threads_per_session, cache)
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
    load_s = time.monotonic() - started_s
    return LoadedVersion(
        engine=engine_name,
        engine_why=engine_why,
        precision=precision,
        profile=measured,
        load_s=load_s,
        group=group,
    )


def _engine_of(spec: WorkerSpec, cache: Path | None) -> tuple[str, Path, str]:
    """The engine, the folder that it loads, and why. A SavedModel for engine `fused` is compiled first; with `auto` every
    SavedModel is tried, and TensorFlow runs what is not fused."""
    folder = Path(spec.folder)
    engine = choose_engine(folder, spec.engine)
    is_tried = engine == "tensorflow" and spec.engine == "auto" and is_installed("fused")
    if not is_tried and (engine != "fused" or (folder / PLAN).exists()):
        return engine, folder, "the files are made for it" if spec.engine == "auto" else "the manifest says so"
    # Only a compilation needs both TensorFlow's and OpenVINO's sides.
    from processor.worker import fusing

    try:
        plan, found = fusing.plan_of(folder, cache or cache_folder(), spec.op_libraries)
    except LoadError as error:
        if not is_tried:
            raise
        return engine, folder, str(error)
    return "fused", plan, found
