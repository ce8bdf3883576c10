"""What the supervisor tells its gateways: which versions there are, and where their workers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corelane.processor.channel.gateway_end import path_of
from corelane.processor.control import routes
from corelane.processor.manifest import ModelSettings
from corelane.processor.supervisor.lifecycle import Phase, State, VersionReport, WantedModel

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor


def route_table(supervisor: Supervisor, wanted: list[WantedModel]) -> list[routes.ModelRoute]:
    """Of the manifest's models, and of those that left it while their workers drain. The routes of a model that we fail
    on stay as they were."""
    names = {model.name for model in supervisor.manifest.models}
    instances = supervisor.workers.instances
    names |= {instance.spec.model for instance in instances if instance.phase is not Phase.LOADING}
    gone = sorted(supervisor.unloaded.keys() - names)
    unloaded = [routes.ModelRoute(name=name, problem="unloaded by a client") for name in gone]
    found = {name: route for name, route in supervisor.routes.items() if name in names}
    for name in sorted(names):
        with supervisor.faults.contained(f"the routes of model {name}"):
            found[name] = _model_route(supervisor, name, wanted)
    return [*(found[name] for name in sorted(found)), *unloaded]


def _model_route(supervisor: Supervisor, name: str, wanted: list[WantedModel]) -> routes.ModelRoute:
    settings = supervisor.manifest.model(name)
    folder = supervisor.folders.get(name)
    there = {version.version for version in folder.versions} if folder is not None else set()
    versions = []
    for report in supervisor.version_reports(name, wanted):
        # A model that left the manifest has no route: its workers drain.
        worker = supervisor.workers.serving(name, report.version) if settings else None
        spec = worker.instance.spec if worker else None
        versions.append(
            routes.VersionRoute(
                version=report.version,
                state=report.state.value,
                error=report.error,
                restarting=report.restarting,
                loading=settings is not None and _is_loading(report, there),
                traffic=settings.settings_of(report.version).traffic if settings else None,
                shadow=settings.settings_of(report.version).shadow if settings else None,
                instance=worker.instance.id if worker else None,
                channel=path_of(worker.channel) if worker else "",
                slots=spec.queue_capacity + spec.sessions if spec else 0,
                queue_capacity=spec.queue_capacity if spec else 0,
                queue_timeout_ms=spec.queue_timeout_ms if spec else 0.0,
            )
        )
    return routes.ModelRoute(
        name=name,
        versions=tuple(versions),
        loading=settings is not None and folder is None,
        problem=(folder.problem or "") if settings is not None and folder is not None else "",
        labels=settings.labels if settings is not None else (),
        sticky_key=settings.sticky_key if settings is not None else None,
        missing_arm=settings.missing_arm if settings is not None else None,
        log=_log(settings) if settings is not None else None,
    )


def _is_loading(report: VersionReport, there: set[int]) -> bool:
    """Whether a version that does not serve is on its way: a worker loads it, or will when its files are complete."""
    return report.state is State.LOADING or (report.state is State.START and report.version in there)


def _log(settings: ModelSettings) -> routes.LogRoute | None:
    found = settings.request_log
    if found is None:
        return None
    return routes.LogRoute(folder=str(found.folder), percent=found.percent, bytes_max=found.bytes_max)
