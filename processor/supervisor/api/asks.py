"""What clients ask of the supervisor through a gateway: to change what is served, and what only it can tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from corelane.processor.control.questions import (
    AnyAnswer,
    AnyQuestion,
    ConfigurationQuestion,
    Done,
    Inquiry,
    LoadQuestion,
    MetricsQuestion,
    MetricsText,
    Refusal,
    ReloadQuestion,
    Response,
    SignaturesQuestion,
    StatisticsQuestion,
    UnloadQuestion,
)
from corelane.processor.errors import ControlError, InvalidRequest, ModelNotFound, ModelsNotAvailable, RequestError
from corelane.processor.manifest import ModelSettings, advice
from corelane.processor.supervisor.api import inference_answers
from corelane.processor.supervisor.api.reload_config import manifest_of
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.events import Kind
from corelane.processor.supervisor.lifecycle import Phase
from corelane.processor.supervisor.views import exposition, meters
from corelane.processor.wire import messages
from corelane.processor.wire.status import number_of

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger(__name__)


async def answer(supervisor: Supervisor, gateway: Child, inquiry: Inquiry) -> None:
    """Carries a gateway's question out, and answers it."""
    question = inquiry.question
    result: AnyAnswer
    try:
        result = await _ANSWERS[type(question)](supervisor, question)
    except (RequestError, ControlError) as error:
        result = Refusal(code=number_of(error), reason=str(error))
    except Exception as error:
        # Whoever asked waits for an answer.
        _logger.critical("a client's %s failed by a fault of ours", question.subject, exc_info=error)
        reason = f"the server failed to do this: {type(error).__name__}; its log says more"
        result = Refusal(code=number_of(error), reason=reason)
    gateway.send(Response(number=inquiry.number, answer=result))


async def _reload(supervisor: Supervisor, question: ReloadQuestion) -> Done:
    """HandleReloadConfigRequest: as `apply`, then waits until the models that are new, or have another path or other
    versions, serve what is there or have failed; and for all models, if folders are looked at only when asked."""
    request = messages.parse(messages.ReloadConfigRequest, question.request)
    available: dict[str, set[int]] = {}
    for worker in supervisor.workers:
        if worker.instance.phase is Phase.AVAILABLE:
            available.setdefault(worker.instance.spec.model, set()).add(worker.instance.spec.version)
    before = {model.name: (model.path, model.versions) for model in supervisor.manifest.models}
    async with supervisor.changing:
        supervisor.apply(manifest_of(request, supervisor.manifest, available), "a client (HandleReloadConfigRequest)")
    models = supervisor.manifest.models
    for warning in advice.name_warnings([model for model in models if model.name not in before]):
        _logger.warning("%s", warning)
    changed = [model for model in models if before.get(model.name) != (model.path, model.versions)]
    await _until_served(supervisor, changed if supervisor.polls else models)
    _check_served(supervisor, changed)
    return Done()


async def _load(supervisor: Supervisor, question: LoadQuestion) -> Done:
    """RepositoryModelLoad: looks at the model's folder, and returns when what should be served of it is."""
    name = question.model
    _check_known(supervisor, name)
    supervisor.events.note(Kind.APPLIED, "to be looked at, and loaded", model=name, by="a client (KServe's load)")
    supervisor.load(name)
    models = [model for model in supervisor.manifest.models if model.name == name]
    await _until_served(supervisor, models)
    _check_served(supervisor, models)
    return Done()


async def _unload(supervisor: Supervisor, question: UnloadQuestion) -> Done:
    """RepositoryModelUnload: returns when no gateway sends it requests; those under way are served to their end."""
    name = question.model
    _check_known(supervisor, name)
    supervisor.events.note(Kind.APPLIED, "to be unloaded", model=name, by="a client (KServe's unload)")
    supervisor.unload(name)
    await supervisor.published()
    return Done()


def _check_known(supervisor: Supervisor, name: str) -> None:
    if not name:
        raise InvalidRequest("the request names no model")
    if supervisor.manifest.model(name) is None and name not in supervisor.unloaded:
        raise ModelNotFound(f"model '{name}' is not in the manifest; add it there")


async def _until_served(supervisor: Supervisor, models: Sequence[ModelSettings]) -> None:
    """Returns when these models serve what is in their folders now or cannot, or the time that a load may take is
    over."""
    limit_s = max((model.load_timeout_s for model in models), default=0.0)
    await supervisor.done([model.name for model in models], limit_s)


def _check_served(supervisor: Supervisor, models: Sequence[ModelSettings]) -> None:
    """ModelsNotAvailable, with the reasons, if nothing that is in the folder of one now is served."""
    wanted = {model.name: model for model in supervisor.wanted()}
    routed = {instance.revision for instance in supervisor.workers.instances if instance.routed}
    broken = [
        f"{model.name}{_why_not(supervisor, model.name)}"
        for model in models
        if model.name in wanted and not any(version.revision in routed for version in wanted[model.name].versions)
    ]
    if broken:
        raise ModelsNotAvailable(f"no version is available of {', '.join(broken)}")


def _why_not(supervisor: Supervisor, name: str) -> str:
    reasons = [
        f"version {report.version}: {report.error}"
        for report in supervisor.version_reports(name, supervisor.wanted())
        if report.error
    ]
    folder = supervisor.folders.get(name)
    if folder is None:
        reasons = ["its folder could not be looked at yet"]
    elif folder.problem:
        reasons = [folder.problem]
    if name in supervisor.workers.routed_models():
        reasons.append("what was served before still is")
    return f" ({'; '.join(reasons)})" if reasons else ""


async def _metrics(supervisor: Supervisor, question: MetricsQuestion) -> MetricsText:
    return MetricsText(text=(await metrics(supervisor)).decode())


async def metrics(supervisor: Supervisor) -> bytes:
    """What Prometheus reads. Read here, written on a thread: it may be megabytes."""
    return await asyncio.to_thread(exposition.text, meters.take(supervisor))


_ANSWERS: dict[type[AnyQuestion], Callable[[Supervisor, Any], Awaitable[AnyAnswer]]] = {
    MetricsQuestion: _metrics,
    ReloadQuestion: _reload,
    LoadQuestion: _load,
    UnloadQuestion: _unload,
    SignaturesQuestion: inference_answers.signatures,
    ConfigurationQuestion: inference_answers.configuration,
    StatisticsQuestion: inference_answers.statistics,
}
