"""The worker process: loads its version, serves the channel, drains, ends."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corelane.processor import control, logs
from corelane.processor._native import PoolGate, SharedChannel
from corelane.processor.control.choices import Choice
from corelane.processor.control.messages import Beat, Failed, not_understood
from corelane.processor.control.worker_messages import Available, Drain, LoadPriority, LoadStep, Place, WorkerStart
from corelane.processor.control.worker_spec import SessionPlacement, WorkerSpec
from corelane.processor.errors import LoadError
from corelane.processor.knobs import cache_folder
from corelane.processor.loading.content import readable_content
from corelane.processor.loading.phases import LoadPhase
from corelane.processor.system import threads
from corelane.processor.system.sandbox import contain
from corelane.processor.worker.allocator import environment_for
from corelane.processor.worker.session_threads import SessionThreads

if TYPE_CHECKING:
    from corelane.processor.loading.loading import LoadedVersion
    from corelane.processor.loading.profiling import ProfileFile
    from corelane.processor.worker.session_group import SessionGroup

_logger = logging.getLogger(__name__)

_OOM_SCORE = 500  # if memory runs out, a worker goes, and not the supervisor
_DRAIN_LOOK_S = 0.01
_LOAD_FAILED = 3
_NO_FOLDER = "/nonexistent"  # for libraries that keep something in the home folder, or look for a temporary one
_REASON_CHARACTERS = 4000  # a model's own text may be in it
_SIGNATURES_MAX = control.MESSAGE_BYTES_MAX // 8 * 3  # half of a message, as base64
_NICE_BESIDE_POOL = 10  # a tenth of the weight of nice 0


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them. The main thread keeps the process's priority, and makes the threads that
    serve; the load has one of its own."""
    logs.configure_child(starts=False)
    client, first = control.connect(arguments, WorkerStart)
    spec = first.spec
    _limit(spec)
    choice = first.choice or _choose(client, first, arguments)
    kept = _contain(client, first, choice)
    logs.start()  # a thread that was there before would not be contained
    channel = SharedChannel.map(first.channel, first.instance)
    loaded: queue.Queue[LoadedVersion] = queue.Queue()
    drain_asked = threading.Event()
    placements: queue.Queue[Place] = queue.Queue()
    sessions = SessionThreads(spec.run_timeout_s)

    def handle(message: control.Message) -> None:
        match message:
            case Drain():
                drain_asked.set()
            case Place():
                placements.put(message)
            case Beat():
                sessions.check()
                client.send(message)
            case _:
                raise not_understood(message)

    threads.start(lambda: client.serve(handle), "control")
    threads.start(lambda: loaded.put(_load(client, first, choice, channel, kept)), "load", may_end=lambda: True)
    version = loaded.get()
    with sessions.changing(version.group):
        version.group.place([SessionPlacement()] * spec.sessions)
    threads.start(lambda: _place(version.group, placements, sessions), "place")
    client.send(
        Available(
            engine=version.choice.engine,
            engine_why=version.choice.why,
            notes=tuple(version.notes),
            signatures=_signatures(version.group),
            load_s=version.load_s,
            warm_up_s=version.warm_up_s,
            precision=version.precision,
            profile=version.profile,
        )
    )
    drain_asked.wait()
    sessions.forget()
    while not channel.close_if_idle():
        time.sleep(_DRAIN_LOOK_S)
    version.group.stop()
    logs.flush()
    os._exit(0)


def _signatures(group: SessionGroup) -> bytes:
    """A GetModelMetadataResponse; empty if it is too large for a message."""
    data = group.signatures()
    return data if len(data) <= _SIGNATURES_MAX else b""


def _tell(client: control.ControlClient, phase: LoadPhase, signature: str) -> None:
    client.send(LoadStep(phase=phase, signature=signature))


def _cache(spec: WorkerSpec) -> Path:
    return Path(spec.profile_folder) if spec.profile_folder else cache_folder()


def _contain(client: control.ControlClient, first: WorkerStart, choice: Choice) -> ProfileFile | None:
    """What follows runs the model. It writes no file but the one that is open already, which is where its profile is
    kept."""
    spec, folder = first.spec, Path(first.spec.folder)
    kept: list[ProfileFile] = []

    def open_profile() -> None:
        from corelane.processor.loading.profiling import ProfileFile

        plan = Path(choice.folder)
        kept.append(ProfileFile.open(_cache(spec), choice.engine, plan, spec.threads_per_session))

    if spec.profile_folder:
        _run_quietly(client, first, open_profile)
    with _failing(client, spec):
        content = readable_content(folder)
        for link, reason in content.refused.items():
            _logger.warning("link %s in %s is not followed: %s", link, folder, reason)
        files = [Path(choice.folder), *map(Path, choice.tables.values()), *map(Path, spec.op_libraries)]
        held = contain(first.sandbox, [folder, *content.linked, *files], listed=content.folders)
        if held:
            os.environ["HOME"] = os.environ["TMPDIR"] = _NO_FOLDER
            _logger.info("contained: %s", "; ".join(held))
    return kept[0] if kept else None


def _choose(client: control.ControlClient, first: WorkerStart, arguments: list[str]) -> Choice:
    """The engine's choice, which may take a compilation. If the engine needs another allocator than the process has,
    the process starts over with the choice made."""
    spec = first.spec
    choices: list[Choice] = []

    def choose() -> None:
        from corelane.processor.loading.choice import choose as choice_of

        _tell(client, LoadPhase.CHOOSING, "")
        choice = choice_of(
            Path(spec.folder),
            spec.engine,
            _cache(spec),
            spec.op_libraries,
            spec.saved_model_tags,
            precision=spec.precision,
            sandbox=first.sandbox,
            on_phase=partial(_tell, client),
        )
        choices.append(choice)

    _run_quietly(client, first, choose)
    (choice,) = choices
    environment = environment_for(choice.engine)
    if environment is not None:
        for descriptor in (int(arguments[0]), first.channel, first.gate):
            os.set_inheritable(descriptor, True)
        chosen = control.encode(dataclasses.replace(first, choice=choice)).decode()
        command = [sys.executable, "-P", "-m", "corelane.processor.worker", *arguments[:3], chosen]
        logs.flush()
        os.execve(sys.executable, command, environment)
    return choice


def _run_quietly(client: control.ControlClient, first: WorkerStart, work: Callable[[], None]) -> None:
    """Does part of the load on a thread of low priority: it reads all of the version's files."""

    def run() -> None:
        _lower_priority(first.priority)
        with _failing(client, first.spec):
            work()

    thread = threading.Thread(target=run, name="load")
    thread.start()
    thread.join()


@contextlib.contextmanager
def _failing(client: control.ControlClient, spec: WorkerSpec) -> Iterator[None]:
    """Tells the supervisor why a load failed, and ends the process."""
    try:
        yield
        return
    except LoadError as error:
        reason = str(error)
    except BaseException as error:
        # Whatever an engine raises on a broken model, the supervisor hears of it.
        _logger.exception("loading %s failed", spec.name)
        reason = f"{type(error).__name__}: {error}"
    client.send(Failed(error=reason[:_REASON_CHARACTERS]))
    logs.flush()
    os._exit(_LOAD_FAILED)


def _place(group: SessionGroup, placements: queue.Queue[Place], threads_of: SessionThreads) -> None:
    """Makes the sessions be what the supervisor says, the newest word only: a session that goes may take its time."""
    while True:
        newest = placements.get()
        while not placements.empty():
            newest = placements.get()
        try:
            sessions = [SessionPlacement(cpus=cpus) for cpus in newest.sessions]
            with threads_of.changing(group):
                group.place(sessions, shares=newest.shares)
        except LoadError as error:
            _logger.error("sessions stay as they are: %s", error)


def _limit(spec: WorkerSpec) -> None:
    if spec.memory_bytes_max is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_bytes_max, spec.memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError as error:
        _logger.info("the kernel may end any process when memory runs out, not this one first: %s", error)


def _lower_priority(priority: LoadPriority) -> None:
    """Of this thread. "idle": to what serving leaves; "beside" a pool that may never be idle: to a tenth of a core;
    "normal": not at all, for a version that restarts where it served."""
    try:
        if priority == "idle":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        elif priority == "beside":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE_BESIDE_POOL)
    except OSError as error:
        _logger.info("the load runs at normal priority: %s", error)


def _load(
    client: control.ControlClient,
    first: WorkerStart,
    choice: Choice,
    channel: SharedChannel,
    kept: ProfileFile | None,
) -> LoadedVersion:
    """The loaded version; tells the supervisor why, and ends the process, if there is none."""
    spec = first.spec
    # Threads that an engine makes inherit the priority, so it is lowered only where none of them will run requests.
    if spec.threads_per_session == 1:
        _lower_priority(first.priority)
    with _failing(client, spec):
        # Importing an engine is most of many a load: it belongs on this thread.
        from corelane.processor.loading.loading import load_version

        gate = PoolGate.map(first.gate)
        tell = partial(_tell, client)
        version = load_version(spec, choice, channel, first.cpus, first.cores, gate, first.member, kept, tell)
        if kept is not None:
            kept.close()
        return version
    raise AssertionError("the process has ended")
