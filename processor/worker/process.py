"""The worker process: loads its version, serves the channel, drains, ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kernels
import processor
import scheduler
from processor import control, logs
from processor._native import PoolGate, SharedChannel
from processor.errors import LoadError
from processor.knobs import cache_folder
from processor.worker.allocator import environment_for
from processor.worker.sandbox import contain
from processor.worker.spec import SessionPlacement, WorkerSpec

if TYPE_CHECKING:
    from processor.worker.loading import LoadedVersion
    from processor.worker.session_group import SessionGroup

_logger = logging.getLogger(__name__)

_OOM_SCORE = 500  # if memory runs out, a worker goes, and not the supervisor
_DRAIN_LOOK_S = 0.01
_LOAD_FAILED = 3
_NICE_BESIDE_POOL = 10  # a tenth of the weight of nice 0


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them. The main thread keeps the process's priority, and makes the threads that
    serve; the load has one of its own."""
    logs.configure_child()
    client, first = control.connect(arguments)
    # JSON has no tuples.
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in first["spec"].items()
    }
    spec = WorkerSpec(**plain)
    _limit(spec)
    if "choice" not in first:
        # What follows reads the model, and a compilation runs it.
        _contain(client, spec, first["sandbox"])
        _choose(client, spec, first, arguments)
    channel = SharedChannel.map(first["channel"], first["instance"])
    loaded: queue.Queue[LoadedVersion] = queue.Queue()
    loading = threading.Thread(target=lambda: loaded.put(_load(client, spec, channel, first)), name="load", daemon=True)
    drain_asked = threading.Event()
    placements: queue.Queue[control.Message] = queue.Queue()

    def handle(message: control.Message) -> None:
        if message["type"] == "drain":
            drain_asked.set()
        elif message["type"] == "place":
            placements.put(message)
        elif message["type"] == "beat":
            client.send({"type": "alive"})

    threading.Thread(target=client.serve, args=(handle,), name="control", daemon=True).start()
    loading.start()
    version = loaded.get()
    version.group.place([SessionPlacement()] * spec.sessions)
    threading.Thread(target=_place, args=(version.group, placements), name="place", daemon=True).start()
    client.send(
        {
            "type": "available",
            "engine": version.choice.engine,
            "engine_why": version.choice.why,
            "notes": version.notes,
            "load_s": version.load_s,
            "warm_up_s": version.warm_up_s,
            "precision": dataclasses.asdict(version.precision),
            "profile": version.profile.to_json(),
        }
    )
    drain_asked.wait()
    while not channel.close_if_idle():
        time.sleep(_DRAIN_LOOK_S)
    version.group.stop()
    os._exit(0)


def _contain(client: control.ControlClient, spec: WorkerSpec, mode: str) -> None:
    folder = Path(spec.folder)
    cache = Path(spec.profile_folder) if spec.profile_folder else cache_folder()
    with _failing(client, spec):
        cache.mkdir(parents=True, exist_ok=True)
        linked = {path.resolve().parent for path in folder.rglob("*") if path.is_symlink()}
        programs = [Path(module.__path__[0]) for module in (processor, scheduler, kernels)]
        held = contain(mode, [folder, *linked, *programs, *map(Path, spec.op_libraries)], [cache])
    if held:
        # Libraries that keep something in the home folder (OpenVINO's telemetry does) fail where they may not.
        os.environ["HOME"] = str(cache)
        _logger.info("contained: %s", "; ".join(held))


def _choose(client: control.ControlClient, spec: WorkerSpec, first: control.Message, arguments: list[str]) -> None:
    """Puts the engine's choice into what the supervisor said first. Choosing may take a compilation; if the engine
    needs another allocator than the process has, the process starts over with the choice made."""

    def choose() -> None:
        _lower_priority(first["priority"])
        with _failing(client, spec):
            from processor.worker.choice import choose as choice_of

            cache = Path(spec.profile_folder) if spec.profile_folder else cache_folder()
            choice = choice_of(Path(spec.folder), spec.engine, cache, spec.op_libraries, spec.saved_model_tags)
            first["choice"] = dataclasses.asdict(choice)

    thread = threading.Thread(target=choose, name="choose")
    thread.start()
    thread.join()
    environment = environment_for(first["choice"]["engine"])
    if environment is not None:
        for descriptor in (int(arguments[0]), first["channel"], first["gate"]):
            os.set_inheritable(descriptor, True)
        command = [sys.executable, "-P", "-m", "processor.worker", *arguments[:3], json.dumps(first)]
        os.execve(sys.executable, command, environment)


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
        reason = f"{type(error).__name__}: {error}"[:1000]
    client.send({"type": "failed", "error": reason})
    os._exit(_LOAD_FAILED)


def _place(group: SessionGroup, placements: queue.Queue[control.Message]) -> None:
    """Makes the sessions be what the supervisor says, the newest word only: a session that goes may take its time."""
    while True:
        wanted = placements.get()
        while not placements.empty():
            wanted = placements.get()
        try:
            sessions = [SessionPlacement(cpus=tuple(cpus)) for cpus in wanted["sessions"]]
            group.place(sessions, shares=wanted["shares"])
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


def _lower_priority(priority: str) -> None:
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
    client: control.ControlClient, spec: WorkerSpec, channel: SharedChannel, first: control.Message
) -> LoadedVersion:
    """The loaded version; tells the supervisor why, and ends the process, if there is none."""
    # Threads that an engine makes inherit the priority, so it is lowered only where none of them will run requests.
    if spec.threads_per_session == 1:
        _lower_priority(first["priority"])
    with _failing(client, spec):
        # Importing an engine is most of many a load: it belongs on this thread.
        from processor.worker.choice import Choice
        from processor.worker.loading import load_version

        gate = PoolGate.map(first["gate"])
        choice = Choice(**first["choice"])
        return load_version(spec, choice, channel, first["cpus"], first["cores"], gate, first["member"])
    raise AssertionError("the process has ended")
