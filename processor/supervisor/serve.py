"""`corelane serve`: a supervisor and its admin API on one event loop."""

import asyncio
import contextlib
import logging
import pwd
import subprocess
import sys
from pathlib import Path

from processor import ports
from processor.errors import StartError
from processor.knobs import read_knobs
from processor.manifest import Manifest, advice, load_manifest
from processor.supervisor.admin import admin_server
from processor.supervisor.supervisor import Supervisor
from scheduler import read_host

_logger = logging.getLogger("corelane")


def serve(manifest_path: Path) -> None:
    """Serves a manifest in the foreground until SIGTERM or Ctrl-C, then drains. ManifestError or StartError before
    anything runs."""
    manifest = load_manifest(manifest_path)
    knobs, host = read_knobs(), read_host()
    _check_worker_user(manifest)
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


def _check_worker_user(manifest: Manifest) -> None:
    """StartError if the workers' user cannot run this installation: every load would fail, for no reason of its own."""
    user = manifest.host.worker_user
    if user is None:
        return
    command = [sys.executable, "-P", "-c", "import processor._native"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[]
        )
        problem = "" if result.returncode == 0 else result.stderr.strip()[-300:]
    except OSError as error:
        problem = str(error)
    if problem:
        raise StartError(f"host.worker_user: {user} cannot run {sys.executable}: {problem}")
