"""When clients may connect, and what is said when they may.

`corelane serve` listens at once, and answers for a model that loads that it does. TensorFlow Serving listens when its
models are there: clients and probes of a server started by its flags take an open port for a model that answers.
"""

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from processor.supervisor.lifecycle import Phase

if TYPE_CHECKING:
    from processor.supervisor.supervisor import Supervisor

_logger = logging.getLogger("corelane")

_PROTOCOLS = {"grpc": "gRPC", "http": "REST"}
# Files that stay incomplete for that long hold up no other model.
_INCOMPLETE_S = 30.0


async def open_when_loaded(supervisor: "Supervisor") -> None:
    """Starts the gateways when the initial load has settled."""
    _logger.info("the ports open when the models are loaded")
    began_s = time.monotonic()
    await supervisor.until(lambda: is_loaded(supervisor, time.monotonic() - began_s))
    supervisor.gateways.start()


def is_loaded(supervisor: "Supervisor", waited_s: float) -> bool:
    """Whether every model has a version available, has failed for good, or has none to load. Versions whose files are
    not complete yet are waited for, `_INCOMPLETE_S` at most."""
    models = supervisor.wanted()
    if waited_s >= _INCOMPLETE_S:
        models = [dataclasses.replace(model, is_coming=False) for model in models]
    return all(supervisor.is_settled(model) for model in models)


async def announce_ready(supervisor: "Supervisor") -> None:
    """Says so, once every model is settled and clients can call."""
    await supervisor.until(lambda: supervisor.ready)
    available = sum(instance.phase is Phase.AVAILABLE for instance in supervisor.workers.instances)
    said = f"{len(supervisor.manifest.models)} models, {available} versions available"
    places = ", ".join(f"{_PROTOCOLS[protocol]} on {address}" for protocol, address in supervisor.addresses.items())
    _logger.info("ready: %s, %s", places, said)
    supervisor.notifier.ready(said)
