"""`corelane serve`: a supervisor and its admin API on one event loop."""

import asyncio
import contextlib
import logging
from pathlib import Path

from processor import ports
from processor.knobs import read_knobs
from processor.manifest import advice, load_manifest
from processor.supervisor.admin import admin_server
from processor.supervisor.supervisor import Supervisor
from scheduler import read_host

_logger = logging.getLogger("corelane")


def serve(manifest_path: Path) -> None:
    """Serves a manifest in the foreground until SIGTERM or Ctrl-C, then drains. ManifestError or StartError before
    anything runs."""
    manifest = load_manifest(manifest_path)
    knobs, host = read_knobs(), read_host()
    for warning in advice.warnings(manifest):
        _logger.warning("%s", warning)

    async def run() -> None:
        with contextlib.closing(ports.listening_socket(manifest.listen.admin)) as admin_socket:
            supervisor = Supervisor(manifest, manifest_path, host, knobs)
            admin = admin_server(supervisor)
            admin_task = asyncio.ensure_future(admin.serve(sockets=[admin_socket]))
            _logger.info(
                "gRPC on %s, REST on %s, admin on %s, %s",
                supervisor.addresses["grpc"],
                supervisor.addresses.get("http", "no port"),
                ports.with_port(manifest.listen.admin, admin_socket),
                host.describe(),
            )
            try:
                await supervisor.run()
            finally:
                admin.should_exit = True
                await admin_task

    asyncio.run(run())
