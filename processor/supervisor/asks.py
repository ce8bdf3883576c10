"""What clients ask of the supervisor through a gateway: to change what is served."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from processor import control
from processor.errors import ControlError, InvalidRequest, ModelNotFound, ModelsNotAvailable, RequestError
from processor.manifest import advice
from processor.supervisor import exposition, meters
from processor.supervisor.child import Child
from processor.supervisor.lifecycle import Phase
from processor.supervisor.reload_config import manifest_of
from processor.wire import messages
from processor.wire.status import number_of

if TYPE_CHECKING:
    from processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger(__name__)


async def answer(supervisor: Supervisor, gateway: Child, message: control.Message) -> None:
    """Carries a gateway's question out, and answers it."""
    code, body = 0, ""
    try:
        body = await _QUESTIONS[message["what"]](supervisor, message["body"])
    except (RequestError, ControlError) as error:
        code, body = number_of(error), str(error)
    except Exception as error:
        # Whoever asked waits for an answer.
        _logger.exception("a client's %s failed by a fault of ours", message["what"])
        code, body = number_of(error), f"internal error: {type(error).__name__}: {error}"[:1000]
    gateway.send({"type": "answer", "id": message["id"], "code": code, "body": body})


async def _reload(supervisor: Supervisor, body: str) -> str:
    """HandleReloadConfigRequest: as `apply`, then waits until the new models serve or have failed."""
    request = messages.parse(messages.ReloadConfigRequest, bytes.fromhex(body))
    available: dict[str, set[int]] = {}
    for worker in supervisor.workers:
        if worker.instance.phase is Phase.AVAILABLE:
            available.setdefault(worker.instance.spec.model, set()).add(worker.instance.spec.version)
    before = {model.name for model in supervisor.manifest.models}
    supervisor.apply(manifest_of(request, supervisor.manifest, available))
    added = [model for model in supervisor.manifest.models if model.name not in before]
    for warning in advice.name_warnings(added):
        _logger.warning("%s", warning)
    new = [model.name for model in added]
    await supervisor.settled(new)
    _check_serving(supervisor, new)
    return ""


async def _load(supervisor: Supervisor, name: str) -> str:
    """RepositoryModelLoad: returns when a version serves. A model that serves already is as it should be."""
    _check_known(supervisor, name)
    supervisor.load(name)
    await supervisor.settled([name])
    _check_serving(supervisor, [name])
    return ""


async def _unload(supervisor: Supervisor, name: str) -> str:
    """RepositoryModelUnload: returns when no gateway sends it requests; those under way are served to their end."""
    _check_known(supervisor, name)
    supervisor.unload(name)
    await supervisor.published()
    return ""


def _check_known(supervisor: Supervisor, name: str) -> None:
    if not name:
        raise InvalidRequest("the request names no model")
    if supervisor.manifest.model(name) is None and name not in supervisor.unloaded:
        raise ModelNotFound(f"model '{name}' is not in the manifest; add it there")


def _check_serving(supervisor: Supervisor, names: list[str]) -> None:
    serving = supervisor.workers.routed_models()
    broken = [name for name in names if name not in serving]
    if broken:
        raise ModelsNotAvailable(f"no version is available of {', '.join(broken)}; GetModelStatus says why")


async def _metrics(supervisor: Supervisor, body: str) -> str:
    return (await metrics(supervisor)).decode()


async def metrics(supervisor: Supervisor) -> bytes:
    """What Prometheus reads. Read here, written on a thread: it may be megabytes."""
    return await asyncio.to_thread(exposition.text, meters.take(supervisor))


_QUESTIONS = {"metrics": _metrics, "reload": _reload, "load": _load, "unload": _unload}
