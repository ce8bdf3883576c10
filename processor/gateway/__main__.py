"""`python -m corelane.processor.gateway`: started by the supervisor only."""

import gc
import os
import sys
from typing import Any

from corelane.processor import control, logs
from corelane.processor.errors import StartError
from corelane.processor.gateway.process import Gateway
from corelane.processor.system import descriptors, threads


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them."""
    logs.configure_child()
    client, settings = control.connect(arguments)
    try:
        gateway = _make(client, settings)
    except (RuntimeError, OSError, ValueError, StartError) as error:
        reason = str(error) if isinstance(error, StartError) else f"cannot listen on {settings['address']}: {error}"
        client.send({"type": "failed", "error": reason})
        logs.flush()
        os._exit(3)
    first = client.receive()
    if first is None:
        os._exit(1)
    gateway.handle(first)
    gc.collect()
    gc.freeze()
    descriptors.keep_reserve()
    gateway.serve()
    threads.start(gateway.tell_counts, "counts")
    client.serve(gateway.handle)


def _make(client: control.ControlClient, settings: dict[str, Any]) -> Gateway:
    # Each protocol's imports are its own process's.
    if settings["protocol"] == "http":
        from corelane.processor.gateway.http.server import HttpGateway

        return HttpGateway(client, settings)
    from corelane.processor.gateway.grpc.server import GrpcGateway

    return GrpcGateway(client, settings)


threads.run(main, sys.argv[1:])
