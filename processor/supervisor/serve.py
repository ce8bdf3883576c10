"""`corelane serve`: a supervisor and its admin API on one event loop."""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

from corelane.processor.errors import ControlError, StartError
from corelane.processor.knobs import Knobs, cache_folder, read_knobs, state_folder
from corelane.processor.loading.model_files import real_path
from corelane.processor.manifest import Manifest, advice, load_manifest
from corelane.processor.manifest.tensorflow_flags import Converted, reread
from corelane.processor.supervisor import tasks
from corelane.processor.supervisor.api.admin import admin_server
from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.log_lines import LogLines
from corelane.processor.supervisor.splits import Splits
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.traffic import DISK_S
from corelane.processor.system import ports
from corelane.processor.system.cache_files import why_unwritable
from corelane.scheduler import read_host

_logger = logging.getLogger("corelane")


def serve(manifest_path: Path) -> None:
    """Serves a manifest in the foreground until SIGTERM or Ctrl-C, then drains. ManifestError or StartError before
    anything runs."""
    _serve(load_manifest(manifest_path), manifest_path, read_knobs())


def serve_flags(converted: Converted) -> None:
    """Serves what TensorFlow Serving's flags amount to, and follows its configuration file."""
    for sentence in converted.not_carried:
        _logger.warning("%s", sentence)
    knobs = dataclasses.replace(
        read_knobs(), watch_interval_s=converted.watch_s, rest_timeout_s=converted.rest_timeout_s
    )
    manifest = converted.manifest
    if not _is_free(manifest.listen.admin):
        _logger.warning("the admin port %s is taken; another is used", manifest.listen.admin)
        listen = dataclasses.replace(manifest.listen, admin="127.0.0.1:0")
        converted = dataclasses.replace(converted, manifest=dataclasses.replace(manifest, listen=listen))
    _serve(converted.manifest, None, knobs, converted)


def _serve(manifest: Manifest, manifest_path: Path | None, knobs: Knobs, flags: Converted | None = None) -> None:
    lines = LogLines()
    logging.getLogger().addHandler(lines)
    host = read_host()
    _check_worker_user(manifest)
    # Workers of another user say it of their own.
    if manifest.host.worker_user is None and (problem := why_unwritable(cache_folder())):
        _logger.warning("%s", problem)
    for warning in advice.warnings(manifest):
        _logger.warning("%s", warning)

    async def run() -> None:
        with contextlib.closing(ports.listening_socket(manifest.listen.admin)) as admin_socket:
            kept = state_folder() / _state_name(manifest, manifest_path)
            events, splits = Events(kept.with_suffix(".events")), Splits(kept.with_suffix(".splits"))
            supervisor = Supervisor(
                manifest, manifest_path, host, knobs, events, splits, opens_when_loaded=flags is not None
            )
            admin = admin_server(supervisor, lines)
            admin_task = tasks.start(admin.serve(sockets=[admin_socket]), "the admin API", supervisor.fail)
            follow = None
            if flags is not None and flags.config_file is not None and flags.poll_s > 0:
                follow = tasks.start(_follow(supervisor, flags), f"watch of {flags.config_file}")
            rest = supervisor.addresses.get("http", "no port")
            admin_address = ports.with_port(manifest.listen.admin, admin_socket)
            events.note(
                Kind.STARTED,
                f"gRPC on {supervisor.addresses['grpc']}, REST on {rest}, admin on {admin_address}, {host.describe()}",
            )
            try:
                await supervisor.run()
            finally:
                if follow is not None:
                    follow.cancel()
                admin.should_exit = True
                await admin_task

    asyncio.run(run())


async def _follow(supervisor: Supervisor, flags: Converted) -> None:
    """Applies the configuration file whenever it says something else; what is wrong with it changes nothing."""
    while True:
        await asyncio.sleep(flags.poll_s)
        try:
            async with supervisor.changing:
                manifest = await tasks.on_daemon_thread(functools.partial(reread, flags), "configuration", DISK_S)
                if manifest != supervisor.manifest:
                    supervisor.apply(manifest, str(flags.config_file))
        except (StartError, ControlError, TimeoutError) as error:
            supervisor.manifest_error = str(error)
            _logger.error("%s is not applied: %s", flags.config_file, error)
        except Exception as error:
            _logger.critical("%s is not applied", flags.config_file, exc_info=error)


def _state_name(manifest: Manifest, manifest_path: Path | None) -> str:
    """Of what is kept from one start to the next: by the manifest's file, or where there is none by the address."""
    if manifest_path is None:
        return re.sub(r"[^\w.]", "-", f"flags-{manifest.listen.grpc}")
    path = real_path(manifest_path)
    stem = re.sub(r"[^\w-]", "-", path.stem)[:64]
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _is_free(address: str) -> bool:
    try:
        ports.listening_socket(address).close()
    except StartError:
        return False
    return True


def _check_worker_user(manifest: Manifest) -> None:
    """StartError if the workers' user cannot run this installation: every load would fail, for no reason of its own."""
    user = manifest.host.worker_user
    if user is None:
        return
    command = [sys.executable, "-P", "-c", "import corelane.processor._native"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[]
        )
        problem = "" if result.returncode == 0 else result.stderr.strip()[-300:]
    except OSError as error:
        problem = str(error)
    if problem:
        raise StartError(f"host.worker_user: {user} cannot run {sys.executable}: {problem}")
