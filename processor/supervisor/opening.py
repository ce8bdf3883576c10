"""When clients may connect, and what is said when they may.

`corelane serve` listens at once, and answers for a model that loads that it does. TensorFlow Serving listens when its
models are there: clients and probes of a server started by its flags take an open port for a model that answers.
"""

import asyncio
import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from corelane.processor.supervisor.lifecycle import Phase

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger("corelane")

_PROTOCOLS = {"grpc": "gRPC", "http": "REST"}
# Files that stay incomplete for that long hold up no other model.
_INCOMPLETE_S = 30.0
_WAIT_S = 60.0  # between two words of why the server is not ready


async def open_when_loaded(supervisor: "Supervisor") -> None:
    """Starts the gateways when the initial load has settled."""
    _logger.info("the ports open when the models are loaded")
    began_s = time.monotonic()
    await supervisor.until(lambda: is_loaded(supervisor, time.monotonic() - began_s))
    supervisor.gateways.start()


def _is_at_rest(supervisor: "Supervisor") -> bool:
    """Whether nothing more comes by itself, and no folder is being looked at."""
    return supervisor.settled and all(model.is_seen for model in supervisor.wanted())


def _is_news(supervisor: "Supervisor") -> bool:
    return supervisor.telling.unready != {name: model.reason for name, model in supervisor.unready().items()}


def _tell_unready(supervisor: "Supervisor") -> None:
    missing = supervisor.unready()
    supervisor.telling.unready = {name: model.reason for name, model in missing.items()}
    said = "; ".join(f"model {name}: {model.reason}" for name, model in sorted(missing.items()))
    _logger.warning("not ready (host.ready: %s): %s", supervisor.manifest.host.ready, said)
    if supervisor.settled:
        supervisor.notifier.ready(f"not ready: {said}"[:500])


def is_loaded(supervisor: "Supervisor", waited_s: float) -> bool:
    """Whether every model has a version available, has failed for good, or has none to load. Versions whose files are
    not complete yet are waited for, `_INCOMPLETE_S` at most."""
    models = supervisor.wanted()
    if waited_s >= _INCOMPLETE_S:
        models = [dataclasses.replace(model, is_coming=False) for model in models]
        # Nor does one whose load or start has failed and is tried again.
        tried = {revision.spec.model for revision in supervisor.workers.troubles}
        models = [model for model in models if model.name not in tried]
    return all(supervisor.is_settled(model) for model in models)


async def announce_ready(supervisor: "Supervisor") -> None:
    """Says so, once clients can call; and while they cannot, why. systemd hears that the server is up when nothing more
    comes by itself: it would else end a server over one model's path."""
    while not supervisor.ready:
        try:
            async with asyncio.timeout(_WAIT_S):
                await supervisor.until(lambda: supervisor.ready or (_is_at_rest(supervisor) and _is_news(supervisor)))
        except TimeoutError:
            if not _is_news(supervisor):
                continue
        if not supervisor.ready:
            _tell_unready(supervisor)
    available = sum(instance.phase is Phase.AVAILABLE for instance in supervisor.workers.instances)
    said = f"{len(supervisor.manifest.models)} models, {available} versions available"
    places = ", ".join(f"{_PROTOCOLS[protocol]} on {address}" for protocol, address in supervisor.addresses.items())
    _logger.info("ready: %s, %s", places, said)
    supervisor.notifier.ready(said)
