"""`python -m corelane.processor.gateway`: started by the supervisor only."""

import gc
import os
import sys

from corelane.processor import control, logs
from corelane.processor.control.gateway_messages import GatewayStart
from corelane.processor.control.messages import Failed
from corelane.processor.errors import StartError
from corelane.processor.gateway.process import Gateway
from corelane.processor.system import descriptors, threads


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them."""
    logs.configure_child()
    client, start = control.connect(arguments, GatewayStart)
    try:
        gateway = _make(client, start)
    except (RuntimeError, OSError, ValueError, StartError) as error:
        address = start.settings.address
        reason = str(error) if isinstance(error, StartError) else f"cannot listen on {address}: {error}"
        client.send(Failed(error=reason))
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


def _make(client: control.ControlClient, start: GatewayStart) -> Gateway:
    # Each protocol's imports are its own process's.
    if start.settings.protocol == "http":
        from corelane.processor.gateway.http.server import HttpGateway

        return HttpGateway(client, start)
    from corelane.processor.gateway.grpc.server import GrpcGateway

    return GrpcGateway(client, start)


threads.run(main, sys.argv[1:])
