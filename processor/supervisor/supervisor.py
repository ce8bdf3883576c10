"""The supervisor: makes processes match the manifest, and tells gateways where to send requests.

Everything here runs on one event loop. Whatever happens (a folder changed, a worker spoke or died, a manifest was
applied, time passed) ends in `_reconcile`, which asks the pure policy of `lifecycle` what to do and does it.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import signal
import time
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from corelane.processor.control.gateway_settings import Protocol
from corelane.processor.control.questions import Inquiry
from corelane.processor.control.routes import ModelRoute
from corelane.processor.errors import ControlError, ManifestError, StartError
from corelane.processor.knobs import Knobs, cache_folder
from corelane.processor.manifest import Manifest, ModelSettings, load_manifest
from corelane.processor.manifest.changes import changes, check_applicable
from corelane.processor.supervisor import lifecycle, opening, runtime, tasks
from corelane.processor.supervisor.api.asks import answer
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.children.gateways import Gateways, kinds_of
from corelane.processor.supervisor.children.heartbeats import Heartbeats, Watched
from corelane.processor.supervisor.children.worker import Worker
from corelane.processor.supervisor.children.workers import Workers
from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.faults import Faults
from corelane.processor.supervisor.files.folders import ModelFolder
from corelane.processor.supervisor.files.watching import ModelWatch, watch_file
from corelane.processor.supervisor.lifecycle import Limits, Phase, WantedModel
from corelane.processor.supervisor.scheduling import Scheduling, Served, limited, pin, served_of
from corelane.processor.supervisor.splits import Splits
from corelane.processor.supervisor.systemd import Notifier
from corelane.processor.supervisor.telling import Telling
from corelane.processor.supervisor.traffic import DISK_S, Traffic
from corelane.processor.supervisor.views import readiness
from corelane.processor.supervisor.views.measures import Measures
from corelane.processor.supervisor.views.meters import Meters
from corelane.processor.supervisor.views.readiness import Unready
from corelane.processor.supervisor.views.route_table import route_table
from corelane.processor.supervisor.wanted import waiting_versions, wanted_models
from corelane.processor.system import descriptors
from corelane.processor.system.ports import ReservedPort
from corelane.scheduler import Host, gateway_processes

_logger = logging.getLogger("corelane")

_TICK_S, _PLAN_TICKS = 0.25, 8
_GATEWAY_START_S, _GATEWAY_PATIENCE = 60.0, 3


class Supervisor:
    def __init__(
        self,
        manifest: Manifest,
        manifest_path: Path | None,
        host: Host,
        knobs: Knobs,
        events: Events,
        splits: Splits,
        opens_when_loaded: bool = False,
    ) -> None:
        self.manifest = manifest
        self.host = limited(host, manifest.host.cores)
        self.cores = self.host.cores
        self.events = events
        self.scheduling = Scheduling(self.host, events)
        self.folders: dict[str, ModelFolder] = {}
        self.was_ready = False
        self._silences = readiness.Silences()
        self.telling = Telling(events)
        self.notifier = Notifier()
        self.faults = Faults()
        self.meters = Meters()
        self.measures = Measures()
        self.traffic = Traffic(manifest_path, events, splits)
        self.routes: dict[str, ModelRoute] = {}  # as they were published last
        self.unloaded: dict[str, ModelSettings] = {}  # by a client; the manifest had them
        self.manifest_error = ""
        self.started_s = time.time()
        self._manifest_path = manifest_path
        self._knobs = knobs
        self._opens_when_loaded = opens_when_loaded
        self._profiles = str(cache_folder())
        self.workers = Workers(
            host=self.host,
            cores=self.cores,
            settings=manifest.host,
            limits=Limits(
                loads_max=max(1, self.cores),
                drain_ns=int(manifest.host.drain_s * 1e9),
                backoff_max_ns=int(knobs.restart_backoff_max_s * 1e9),
            ),
            meters=self.meters,
            events=events,
            on_available=self._on_available,
            on_crash=self._look_again,
            on_change=self._reconcile,
        )
        self._pinned: dict[int, tuple[int, ...]] = {}  # gateways' cores, by process
        self._watches: dict[str, ModelWatch] = {}
        self._heartbeats = Heartbeats(knobs.heartbeat_s, _TICK_S)
        self._failed_ticks = 0  # in a row
        self._failure = ""  # of a task that nothing goes on without
        self._stopping = False
        self._stop_asked = asyncio.Event()
        self.changing = asyncio.Lock()  # held by whoever changes the manifest, from its reading to its being applied
        self._reload_waits = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task] = set()
        listen = manifest.listen
        self._ports: dict[Protocol, ReservedPort] = {"grpc": ReservedPort(listen.grpc)}
        if listen.http is not None:
            self._ports["http"] = ReservedPort(listen.http)
        self.addresses = {protocol: port.address for protocol, port in self._ports.items()}
        self.gateways = Gateways(
            kinds=kinds_of(
                listen,
                self.addresses,
                knobs.request_timeout_s,
                knobs.rest_timeout_s,
                gateway_processes(self.cores, manifest.host.gateways),
            ),
            events=events,
            on_change=self._reconcile,
            on_ask=self._on_ask,
            on_counts=self.meters.heard,
            on_end=self.workers.reclaim,
        )

    # Life

    async def run(self) -> None:
        """Serves until `stop` is asked for, then drains. StartError if the gateways cannot listen, or if it had to
        `fail`."""
        descriptors.raise_limit()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.faults.on_loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_file)
        try:
            self._follow_manifest()
            self._reconcile()  # before a client can ask, gateways know the models
            if self._opens_when_loaded:
                self._spawn(opening.open_when_loaded(self), "the opening of the ports")
            else:
                self.gateways.start()
            self._keep(self._tick, "the tick")
            self._spawn(opening.announce_ready(self), "the ready line")
            if self._manifest_path is not None:
                interval_s, own = self._knobs.watch_interval_s, self.traffic.own_mark
                path = self._manifest_path
                self._keep(lambda: watch_file(path, interval_s, self._reload_file, own), "the manifest watch")
            await self._wait_for_stop()
            await self._shut_down()
            if self._failure:
                raise StartError(self._failure)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of all that it holds."""
        self.workers.kill()
        self.gateways.kill()
        for port in self._ports.values():
            port.close()

    def stop(self) -> None:
        """Asks for a drain and a clean end; asked twice, ends at once by KeyboardInterrupt."""
        if self._stop_asked.is_set():
            _logger.warning("stopping at once; requests under way are lost")
            raise KeyboardInterrupt
        self._stop_asked.set()

    def fail(self, reason: str) -> None:
        """Drains and ends with an error: whoever started us may start us again."""
        self._failure = self._failure or reason
        self._stop_asked.set()

    @property
    def alive(self) -> bool:
        """Whether the loop does its work: not if its tick fails over and over."""
        return self._failed_ticks * _TICK_S < self._knobs.heartbeat_s

    @property
    def polls(self) -> bool:
        """Whether folders are looked at without being asked for."""
        return self._knobs.watch_interval_s < float("inf")

    @property
    def ready(self) -> bool:
        """Whether probes hear that clients can call. A later load does not take it back; a silent model does."""
        return self.gateways.reachable and self._answers

    @property
    def _answers(self) -> bool:
        calm = self._silences.allow(self.manifest.host.ready, time.monotonic())
        return self.was_ready and calm and not self._stopping

    @property
    def settled(self) -> bool:
        """Whether every model has a version available or has failed for good, and clients can call."""
        return self.gateways.up and all(self.is_settled(model) for model in self.wanted())

    def unready(self) -> dict[str, Unready]:
        """The models that have nothing to answer with, or something on its way."""
        return self._unready(self.wanted())

    def _unready(self, wanted: list[WantedModel]) -> dict[str, Unready]:
        missing = readiness.unready(wanted, self.workers.instances, self.workers.troubles, {})
        reasons = {}
        for name in missing:
            problem = self.folders.get(name, ModelFolder()).problem
            reasons[name] = readiness.reason_of(problem, self.version_reports(name, wanted))
        return readiness.unready(wanted, self.workers.instances, self.workers.troubles, reasons)

    def missing_arms(self, settings: ModelSettings, wanted: list[WantedModel]) -> list[str]:
        """What `readiness.missing_arms` says of a model."""
        serving = [i.spec.version for i in self.workers.instances if i.routed and i.spec.model == settings.name]
        return readiness.missing_arms(settings, self.version_reports(settings.name, wanted), serving)

    def is_settled(self, model: WantedModel) -> bool:
        return lifecycle.is_settled(model, self.workers.instances, self.workers.troubles)

    async def _wait_for_stop(self) -> None:
        stop = asyncio.ensure_future(self._stop_asked.wait())
        failed = asyncio.ensure_future(self.gateways.failed.wait())
        await asyncio.wait([stop, failed], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        failed.cancel()
        if self.gateways.failed.is_set():
            raise StartError(self.gateways.failure)

    async def _shut_down(self) -> None:
        self.notifier.stopping()
        drain_s = self.manifest.host.drain_s
        self.events.note(Kind.STOPPING, f"stopping: answering what was accepted, for {drain_s:g} s at most")
        self._stopping = True
        self.workers.stopping()
        for task in self._tasks:
            task.cancel()
        for watch in self._watches.values():
            watch.cancel()
        end_s = time.monotonic() + drain_s
        await self.gateways.stop(drain_s)
        self.workers.drain()
        await self.workers.end(max(1.0, end_s - time.monotonic()))
        _logger.info("stopped")

    async def _tick(self) -> None:
        for tick in itertools.count():
            await asyncio.sleep(_TICK_S)
            steps: dict[str, Callable[[], object]] = {
                "reaching workers again": self.gateways.try_again,
                "the heartbeats": lambda: self._heartbeats.tick(self._watched()),
            }
            if tick % _PLAN_TICKS == 0:
                steps |= {"the core allocation": self._schedule, "the measures": lambda: self.measures.take(self)}
            steps["the reconciliation"] = self._reconcile_now
            # systemd hears of us as long as we do our work, and not just because the loop turns.
            done = [self.faults.ran(name, step) for name, step in steps.items()]
            self._failed_ticks = 0 if all(done) else self._failed_ticks + 1
            if self._failed_ticks == 0:
                self.notifier.alive()

    def _watched(self) -> list[Watched]:
        """A worker that loads is not judged by its answers: `load_timeout_s` does that."""
        gateways = [
            Watched(child=gateway.child, answers=gateway.ready, patience=_GATEWAY_PATIENCE, start_s=_GATEWAY_START_S)
            for gateway in self.gateways.list
        ]
        workers = [
            Watched(child=worker.child, answers=worker.instance.phase is not Phase.LOADING, patience=inf)
            for worker in self.workers
        ]
        return [*gateways, *workers]

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._add(tasks.start(coroutine, name, on_failure=self.fail))

    def _keep(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._add(tasks.keep(make, name))

    def _add(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Manifest: every change comes through `apply`

    def apply(self, manifest: Manifest, by: str) -> list[str]:
        """Makes the server match a manifest; what changes, in sentences. ControlError, and no change, if it asks for
        what only a restart can do. What a client had unloaded is loaded again, if the manifest has it. `by`: who asked
        for it."""
        check_applicable(self.manifest, manifest)
        changed = changes(self.manifest, manifest)
        self.unloaded = {}
        self.manifest = manifest
        self.manifest_error = ""
        self.events.note(Kind.APPLIED, f"manifest applied: {'; '.join(changed) or 'nothing changes'}", by=by)
        for name in self._watches:
            self._look_again(name)
        self._change_models(manifest.models)
        self.notifier.reloaded(f"{len(manifest.models)} models")
        return changed

    def change_model(self, changed: ModelSettings) -> None:
        """Puts other settings in the place of a model's."""
        self._change_models(tuple(changed if one.name == changed.name else one for one in self.manifest.models))

    def unload(self, name: str) -> None:
        """Stops serving a model of the manifest, until it is loaded or a manifest is applied."""
        found = self.manifest.model(name)
        if found is not None:
            self.unloaded[name] = found
            self._change_models(tuple(model for model in self.manifest.models if model is not found))

    def load(self, name: str) -> None:
        """Serves a model again that was unloaded, and what is in its folder now."""
        self._look_again(name)
        found = self.unloaded.pop(name, None)
        if found is not None:
            self._change_models((*self.manifest.models, found))

    def _change_models(self, models: tuple[ModelSettings, ...]) -> None:
        self.manifest = dataclasses.replace(self.manifest, models=models)
        self._follow_manifest()
        self._reconcile()

    def _follow_manifest(self) -> None:
        """Watches the folders of the manifest's models, and no others."""
        paths = {model.name: model.path for model in self.manifest.models}
        for name, watch in list(self._watches.items()):
            if paths.get(name) != watch.path:
                watch.cancel()
                del self._watches[name]
                self.folders.pop(name, None)
        for name, path in paths.items():
            if name not in self._watches:
                self._watches[name] = ModelWatch(
                    name,
                    path,
                    self._knobs,
                    model=lambda name: self.manifest.model(name),
                    on_change=self._on_folder,
                )

    def _look_again(self, name: str) -> None:
        """Has a model's folder looked at before anything more of it is started."""
        if name in self._watches:
            self._watches[name].look_again()

    def _on_folder(self, name: str, folder: ModelFolder) -> None:
        self.telling.folder(name, self.folders.get(name, ModelFolder()), folder)
        self.folders[name] = folder
        self._reconcile()

    def _reload_file(self) -> None:
        """Has the manifest's file read and applied, soon; asked often, once."""
        if self._manifest_path is not None and not self._reload_waits:
            self._reload_waits = True
            self._spawn(self._reload(self._manifest_path), "the reload of the manifest")

    async def _reload(self, path: Path) -> None:
        async with self.changing:
            self._reload_waits = False
            try:
                self.apply(await tasks.on_daemon_thread(partial(load_manifest, path), "manifest", DISK_S), f"{path}")
            except (ManifestError, ControlError) as error:
                self.manifest_error = str(error)
            except TimeoutError:
                self.manifest_error = f"{path}: its file system did not answer within {DISK_S:g} s"
            except Exception as error:  # no thread for it, say: the server serves on as it is
                self.faults.log("the reload of the manifest", error)
                self.manifest_error = f"{path}: it was not taken over: {type(error).__name__}: {error}"
            else:
                return
            for line in self.manifest_error.splitlines():
                self.events.note(Kind.REFUSED, f"the manifest is not applied: {line}", level=logging.ERROR)

    async def done(self, names: Collection[str], limit_s: float) -> None:
        """Returns when every version of these models that should be served is, from what is in their folders now, or
        has failed for good; after `limit_s` in any case."""

        def all_done() -> bool:
            instances, troubles = self.workers.instances, self.workers.troubles
            return all(lifecycle.is_done(m, instances, troubles) for m in self.wanted() if m.name in names)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.until(all_done)

    async def published(self) -> None:
        """Returns when every gateway has taken over the newest routing table."""
        epoch = self.gateways.epoch
        await self.until(lambda: self.gateways.all_have(epoch))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when it holds; asked again whenever something changed, and at every tick."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def _on_ask(self, gateway: Child, inquiry: Inquiry) -> None:
        self._spawn(answer(self, gateway, inquiry), f"a client's {inquiry.question.subject}")

    # Reconciliation

    def wanted(self) -> list[WantedModel]:
        """Of a model that we fail on, nothing is wanted, and then what runs of it stays."""
        unseen = {name for name, watch in self._watches.items() if not watch.has_looked}
        serving = self.workers.serving_versions()
        wanted = []
        for model in self.manifest.models:
            chosen = [WantedModel(name=model.name)]
            with self.faults.contained(f"model {model.name}"):
                manifest = dataclasses.replace(self.manifest, models=(model,))
                chosen = wanted_models(manifest, self.folders, serving, unseen, self.cores, self._profiles)
            wanted.extend(chosen)
        return wanted

    def _reconcile(self) -> None:
        """Whoever has us look anew is not at fault if we fail."""
        self.faults.ran("the reconciliation", self._reconcile_now)

    def _reconcile_now(self) -> None:
        if self._stopping:
            return
        wanted = self.wanted()
        workers = self.workers
        actions = lifecycle.decide(wanted, workers.instances, workers.troubles, workers.limits, time.monotonic_ns())
        plan = self.scheduling.plan
        workers.carry_out(actions, self.scheduling.cpus_of_loads(), quietly=not (plan and plan.pool))
        workers.forget(wanted)
        self._silences.look([model.name for model in wanted], workers.routed_models(), time.monotonic())
        if not self.was_ready and self.gateways.up:
            self.was_ready = readiness.is_ready(self.manifest.host.ready, wanted, self._unready(wanted))
        for settings in self.manifest.models if self.was_ready else ():  # not while versions are loaded first
            self.telling.missing_arms(settings.name, self.missing_arms(settings, wanted))
        routes = route_table(self, wanted)
        self.routes = {route.name: route for route in routes}
        self.gateways.publish(routes, "" if self._answers else readiness.sentence(self._unready(wanted)))
        if workers.settle_epochs(self.gateways.epoch, self.gateways.all_have, self.gateways.problem):
            asyncio.get_running_loop().call_soon(self._reconcile)
        self._spawn(self._notify(), "a notification")

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _on_available(self, name: str) -> None:
        self._look_again(name)  # the files may have changed while they were loaded
        self.faults.ran("the core allocation", self._schedule)
        self._reconcile()

    # Cores

    def served(self) -> list[tuple[Worker, Served]]:
        """Of each version that serves, its newest worker."""
        served = []
        for worker in self.workers.available():
            with self.faults.contained(f"the core allocation of {worker.instance.spec.name}"):
                served.append((worker, served_of(worker)))
        return served

    def _schedule(self) -> None:
        """Plans anew, and tells everybody where to run who was not told so before."""
        if self._stopping:
            return
        served = self.served()
        self.scheduling.observe([one for _, one in served])
        if self.manifest.host.scheduler == "disabled":
            return
        gateways = {gateway.child.pid for gateway in self.gateways.list}
        self.scheduling.update([one for _, one in served], self.manifest, sum(map(runtime.cpu_s, gateways)))
        for worker, one in served:
            placed = self.scheduling.placement(one.model, one.version)
            if placed is not None and placed != worker.placed:
                worker.placed = placed
                worker.child.send(placed)
        self.workers.gate.set_permits(len(self.scheduling.plan.pool) if self.scheduling.plan else 0)
        cpus = self.scheduling.cpus_of_gateways()
        for pid in gateways:
            if self._pinned.get(pid) != cpus:
                pin(pid, cpus)
        self._pinned = dict.fromkeys(gateways, cpus)

    # What others are told

    def version_reports(self, model: str, wanted: list[WantedModel]) -> list[lifecycle.VersionReport]:
        settings = self.manifest.model(model)
        found = next((entry for entry in wanted if entry.name == model), WantedModel(name=model))
        waiting = waiting_versions(settings, self.folders.get(model, ModelFolder())) if settings else {}
        instances = [instance for instance in self.workers.instances if instance.spec.model == model]
        return lifecycle.report(found.versions, waiting, instances, self.workers.troubles, self.workers.ended(model))
