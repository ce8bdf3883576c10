"""The worker processes: started, listened to, drained, and what became of those that ended."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from corelane.processor import control
from corelane.processor._native import PoolGate, SharedChannel
from corelane.processor.control.messages import Failed, not_understood
from corelane.processor.control.worker_messages import Available, Drain, LoadPriority, LoadStep, WorkerStart
from corelane.processor.loading.phases import describe
from corelane.processor.manifest import HostSettings
from corelane.processor.supervisor import lifecycle
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.children.endings import Ending
from corelane.processor.supervisor.children.worker import Worker
from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.lifecycle import Instance, Limits, Phase, Revision, Trouble, Wanted, WantedModel
from corelane.processor.supervisor.scheduling import pin
from corelane.processor.supervisor.views.meters import Meters
from corelane.processor.worker.allocator import environment_of
from corelane.scheduler import Host

_logger = logging.getLogger("corelane")

_Value = TypeVar("_Value")

_ENDED_MAX = 16  # versions of a model that ended are remembered so that clients can ask what became of them
_SERVED_MAX = 1024  # and those that served, to know when they come back from other files
_RESTARTS_ON_OWN_CORES = 3


class Workers:
    """Belongs to the event loop's thread.

    Invariant: every worker in here has a channel that is not marked dead and a member's place at the pool's gate;
    a worker whose process has ended has neither."""

    def __init__(
        self,
        *,
        host: Host,
        cores: int,
        settings: HostSettings,
        limits: Limits,
        meters: Meters,
        events: Events,
        on_available: Callable[[str], None],
        on_crash: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        """`cores` bounds the sessions of a worker. `on_available` is called when one of a model has loaded, `on_crash`
        when one that served has died, `on_change` when one has ended."""
        self.gate = PoolGate.create()
        self.troubles: dict[Revision, Trouble] = {}
        self.limits = limits
        self._host = host
        self._cores = cores
        self._settings = settings
        self._meters = meters
        self._events = events
        self._on_available = on_available
        self._on_crash = on_crash
        self._on_change = on_change
        self._workers: dict[int, Worker] = {}
        self._ended: dict[str, dict[int, str]] = {}
        self._served: dict[str, dict[int, Revision]] = {}  # what a version was available as last
        self._cores_of: dict[Revision, tuple[int, ...]] = {}  # of versions whose worker ended: where it ran
        self._numbers = itertools.count(1)
        self._stopping = False

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    # What there is

    @property
    def instances(self) -> list[Instance]:
        return [worker.instance for worker in self._workers.values()]

    def available(self) -> list[Worker]:
        """The newest available worker of each version."""
        newest = {w.instance.spec.name: w for w in self._workers.values() if w.instance.phase is Phase.AVAILABLE}
        return list(newest.values())

    def serving(self, model: str, version: int) -> Worker | None:
        """The newest available worker of a version."""
        return next(
            (w for w in self.available() if (w.instance.spec.model, w.instance.spec.version) == (model, version)), None
        )

    def routed_models(self) -> set[str]:
        """The models that have a version to which every gateway sends requests."""
        return {instance.spec.model for instance in self.instances if instance.routed}

    def is_routed(self, model: str, version: int) -> bool:
        """Whether every gateway sends a version's requests to a worker of it."""
        return any(i.routed and (i.spec.model, i.spec.version) == (model, version) for i in self.instances)

    def ended(self, model: str) -> dict[int, str]:
        """The versions of a model that were served, and the last error of each."""
        return self._ended.get(model, {})

    def serving_versions(self) -> dict[str, set[int]]:
        """The versions of each model that have an available worker."""
        versions: dict[str, set[int]] = {}
        for instance in self.instances:
            if instance.phase is Phase.AVAILABLE:
                versions.setdefault(instance.spec.model, set()).add(instance.spec.version)
        return versions

    # What is done

    def carry_out(self, actions: Sequence[lifecycle.Action], cpus_of_loads: Collection[int], quietly: bool) -> None:
        """Does what the policy decided. Loads run on `cpus_of_loads`; `quietly`: at the lowest priority."""
        for action in actions:
            if isinstance(action, lifecycle.Start):
                self._try_start(action.wanted, cpus_of_loads, quietly)
            elif isinstance(action, lifecycle.Drain):
                self._set_phase(self._workers[action.instance], Phase.DRAINING)
            else:
                worker = self._workers[action.instance]
                worker.error = action.reason
                if worker.instance.phase is Phase.LOADING and action.reason != lifecycle.NO_LONGER_WANTED:
                    worker.error += f"; it was {describe(worker.load_phase, worker.load_signature)}"
                worker.child.kill()

    def settle_epochs(self, epoch: int, all_have: Callable[[int], bool], problem_of: Callable[[int], str]) -> bool:
        """Notes which workers every gateway knows of, and drains those that every gateway has let go. `epoch` is the
        newest routing table's, `problem_of` says why a gateway cannot reach a worker; True if a worker became
        routed, or is so no more."""
        changed = False
        for number, worker in self._workers.items():
            if worker.epoch is None:
                worker.epoch = epoch
            problem = problem_of(number)
            if worker.instance.phase is Phase.AVAILABLE and problem != worker.instance.problem:
                routed = worker.instance.routed and not problem
                worker.instance = dataclasses.replace(worker.instance, routed=routed, problem=problem)
                changed = True
            if not all_have(worker.epoch):
                continue
            if worker.instance.phase is Phase.AVAILABLE and not worker.instance.routed and not problem:
                worker.instance = dataclasses.replace(worker.instance, routed=True)
                changed = True
            elif worker.instance.phase is Phase.DRAINING and not worker.drain_sent:
                worker.drain_sent = True
                worker.child.send(Drain())
        return changed

    def forget(self, models: Sequence[WantedModel]) -> None:
        """Drops what is remembered of versions and models that are no longer wanted, and troubles that are over."""
        revisions = {version.revision for model in models for version in model.versions}
        troubles = {revision: trouble for revision, trouble in self.troubles.items() if revision in revisions}
        self.troubles = lifecycle.not_outlived(troubles, self.instances, self.limits, time.monotonic_ns())
        self._cores_of = {revision: cores for revision, cores in self._cores_of.items() if revision in revisions}
        names = {model.name for model in models}
        self._served = {name: served for name, served in self._served.items() if name in names}
        self._ended = {name: ended for name, ended in self._ended.items() if name in names}
        self._meters.forget({(i.spec.model, i.spec.version) for i in self.instances}, names)

    def reclaim(self, owner: int) -> None:
        """Takes back what a gateway that has ended held of the workers."""
        for worker in self._workers.values():
            worker.channel.reclaim(owner)

    def drain(self) -> None:
        """Lets every worker answer what it has and end; kills those that load."""
        for worker in self._workers.values():
            if worker.instance.phase is Phase.LOADING:
                worker.child.kill()
            else:
                worker.child.send(Drain())

    async def end(self, grace_s: float) -> None:
        """Returns when every worker has ended; those still busy after `grace_s` are killed."""
        children = [asyncio.ensure_future(worker.child.ended()) for worker in self._workers.values()]
        if not children:
            return
        _, late = await asyncio.wait(children, timeout=grace_s)
        for worker in self if late else ():
            _logger.warning("[%s] still busy at the end of the drain; killed", worker.child.name)
            worker.child.kill()
        if late:
            await asyncio.wait(late)

    def stopping(self) -> None:
        """From now on a worker's end is nobody's failure."""
        self._stopping = True

    def kill(self) -> None:
        for worker in self._workers.values():
            worker.child.kill()

    def _try_start(self, wanted: Wanted, cpus_of_loads: Collection[int], quietly: bool) -> None:
        """Starts a worker; that it cannot be is this version's trouble, and nobody else's."""
        revision, last = wanted.revision, self.troubles.get(wanted.revision)
        # Its cores are its own while it restarts; a version that crashes again and again must not keep them busy.
        is_back = last is not None and last.served and last.attempts <= _RESTARTS_ON_OWN_CORES
        had = self._cores_of.get(revision) if is_back else None
        priority: LoadPriority = "normal" if had else "idle" if quietly else "beside"
        try:
            self._start(wanted, had or cpus_of_loads, priority)
        except Exception as error:
            said = f"the worker cannot be started: {error}"
            if last is None or last.error != said:
                self._note(Kind.FAILED, revision, said, logging.ERROR)
            self.troubles[revision] = lifecycle.start_failed(last, said, self.limits, time.monotonic_ns())

    def _start(self, wanted: Wanted, cpus: Collection[int], priority: LoadPriority) -> None:
        with contextlib.ExitStack() as undo:
            self._start_member(wanted, cpus, priority, undo)
            undo.pop_all()

    def _start_member(
        self, wanted: Wanted, cpus: Collection[int], priority: LoadPriority, undo: contextlib.ExitStack
    ) -> None:
        number = next(self._numbers)
        spec = wanted.spec
        member = self.gate.add(spec.pool_weight)
        undo.callback(self.gate.remove, member)
        channel = SharedChannel.create(
            instance=number,
            slots=spec.queue_capacity + max(spec.sessions, self._cores),
            message_bytes_max=spec.message_bytes_max,
            queue_timeout_ns=int(spec.queue_timeout_ms * 1e6),
        )
        first = WorkerStart(
            spec=spec,
            channel=channel.descriptor,
            instance=number,
            gate=self.gate.descriptor,
            member=member,
            sandbox=self._settings.sandbox,
            priority=priority,
            cpus=self._host.cpus,
            cores=self._cores,
        )
        if self._has_other_files(wanted.revision):
            changed = "its files have changed since they were loaded: loading them anew"
            self._note(Kind.LOADING, wanted.revision, changed, logging.WARNING)
        self._note(Kind.LOADING, wanted.revision, f"loading {spec.folder}")
        child = Child(
            "corelane.processor.worker",
            spec.name,
            first,
            on_message=lambda message: self._on_message(number, message),
            on_exit=lambda ending: self._on_exit(number, ending),
            descriptors=[channel.descriptor, self.gate.descriptor],
            environment=environment_of(spec),
            user=self._settings.worker_user,
        )
        pin(child.pid, tuple(cpus))
        instance = Instance(
            id=number,
            spec=spec,
            fingerprint=wanted.fingerprint,
            phase=Phase.LOADING,
            since_ns=time.monotonic_ns(),
            load_timeout_ns=wanted.load_timeout_ns,
        )
        self._workers[number] = Worker(instance=instance, child=child, channel=channel, member=member)

    def _has_other_files(self, revision: Revision) -> bool:
        """Whether a version was available from the same folder last, when that held something else."""
        spec = revision.spec
        served = self._served.get(spec.model, {}).get(spec.version, revision)
        return served.spec.folder == spec.folder and served.fingerprint != revision.fingerprint

    def _set_phase(self, worker: Worker, phase: Phase) -> None:
        worker.instance = dataclasses.replace(worker.instance, phase=phase, since_ns=time.monotonic_ns(), routed=False)
        worker.epoch = None
        if phase is Phase.AVAILABLE:
            text = f"{phase} after {worker.load_s:.1f} s: {worker.engine}, {worker.precision.name}"
            self._note(Kind.AVAILABLE, worker.instance.revision, text)
        else:
            _logger.info("[%s] %s", worker.child.name, phase.value)

    def _note(self, kind: Kind, revision: Revision, text: str, level: int = logging.INFO) -> None:
        self._events.note(kind, text, model=revision.spec.model, version=revision.spec.version, level=level)

    def _on_message(self, number: int, message: control.Message) -> None:
        worker = self._workers[number]
        match message:
            case Failed():
                worker.error = message.error
            case LoadStep():
                worker.load_phase, worker.load_signature = message.phase, message.signature
            case Available():
                self._on_loaded(worker, message)
            case _:
                raise not_understood(message)

    def _on_loaded(self, worker: Worker, message: Available) -> None:
        worker.engine, worker.engine_why = message.engine, message.engine_why
        worker.load_s, worker.precision, worker.notes = message.load_s, message.precision, message.notes
        worker.signatures, worker.profile = message.signatures, message.profile
        spec, revision = worker.instance.spec, worker.instance.revision
        if self._has_other_files(revision):
            worker.notes = (*worker.notes, "loaded anew: the files changed after they were loaded before")
        _remember(self._served.setdefault(spec.model, {}), spec.version, revision, _SERVED_MAX)
        # Failed loads are over; crashes are counted on.
        trouble = self.troubles.get(revision)
        if trouble is not None and not trouble.was_available:
            del self.troubles[revision]
        self._meters.loaded(worker, message.warm_up_s)
        self._set_phase(worker, Phase.AVAILABLE)
        self._on_available(spec.model)

    def _on_exit(self, number: int, ending: Ending) -> None:
        worker = self._workers.pop(number)
        instance, now_ns = worker.instance, time.monotonic_ns()
        spec, revision = instance.spec, instance.revision
        ending = ending.of_model(spec.op_libraries)
        worker.channel.mark_dead()
        self.gate.remove(worker.member)
        if self._stopping:
            return
        if instance.phase is Phase.AVAILABLE:
            placed = {cpu for cpus in worker.placed.sessions for cpu in cpus} if worker.placed else set()
            self._cores_of[revision] = tuple(sorted(placed)) or self._host.cpus
        last = self.troubles.get(revision)
        error = ""
        if instance.phase is Phase.LOADING and worker.error != lifecycle.NO_LONGER_WANTED:
            error = worker.error or ending.describe("the worker", " while loading")
            self.troubles[revision] = lifecycle.load_failed(last, error, not worker.error, self.limits, now_ns)
        elif instance.phase is Phase.AVAILABLE:
            error = ending.describe("the worker")
            up_ns = now_ns - instance.since_ns
            self.troubles[revision] = lifecycle.crashed(last, error, up_ns, self.limits, now_ns)
            self._on_crash(spec.model)
        self._meters.ended(worker, failed=bool(error))
        if error:
            kind = Kind.FAILED if instance.phase is Phase.LOADING else Kind.CRASHED
            retry_ns = self.troubles[revision].retry_ns
            again = "" if retry_ns is None else f"; another starts in {max(0, retry_ns - now_ns) / 1e9:.1f} s"
            self._note(kind, revision, f"{error}{again}", logging.ERROR)
        elif instance.phase is Phase.DRAINING:
            self._note(Kind.RETIRED, revision, "unloaded")
        _remember(self._ended.setdefault(spec.model, {}), spec.version, error, _ENDED_MAX)
        self._on_change()


def _remember(versions: dict[int, _Value], version: int, value: _Value, versions_max: int) -> None:
    """Keeps the versions that were told last."""
    versions.pop(version, None)
    versions[version] = value
    if len(versions) > versions_max:
        del versions[next(iter(versions))]
