"""`corelane apply`."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, call_admin, who
from corelane.processor.errors import ControlError, ManifestError
from corelane.processor.manifest import load_manifest
from corelane.processor.manifest.text.files import read_text
from corelane.terminal import age, say, waiting

_DESCRIPTION = """\
Makes a running server match a manifest. It loads new versions, drains removed ones, leaves unchanged ones alone, and
prints the changes. An invalid manifest changes nothing (exit 2). Changes of listen and host need a restart.

  corelane apply manifest.yaml
  corelane apply manifest.yaml --dry-run   only print the changes
  corelane apply manifest.yaml --wait      wait until all is served; exit 1 if a version cannot be loaded
"""
_LOOK_S = 0.3
_START_S = 20.0


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "apply", run, "make a running server match a manifest", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--dry-run", action="store_true", help="print the changes without making them")
    parser.add_argument("--wait", action="store_true", help="wait until every version is available or has failed")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="longest --wait (default: 600)")
    parser.add_argument("--yes", action="store_true", help="apply even if this unloads every served model")
    add_admin(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    try:
        load_manifest(options.manifest)
    except ManifestError as error:
        say(error.explained(), file=sys.stderr)
        return 2
    body = {
        "manifest": read_text(options.manifest),
        "base": str(options.manifest.resolve().parent),
        "source": str(options.manifest),
        "by": who(),
        "dry_run": options.dry_run,
        "yes": options.yes,
    }
    if options.wait:
        _wait_for_a_server(options.admin)
    answer = call_admin(options.admin, "/v1/apply", body)
    if options.json:
        say(json.dumps(answer, indent=2))
    else:
        for change in answer["changes"] or ["nothing changes: the server serves this manifest already"]:
            say(f"  {change}")
        if not options.dry_run:
            say(f"applied {options.manifest}{'' if options.wait else '; see `corelane status`'}")
    return _wait(options) if options.wait and not options.dry_run else 0


def _wait_for_a_server(admin: str) -> None:
    """Waits for a server that was just started. ControlError if none answers in time."""
    end_s, announced = time.monotonic() + _START_S, False
    while True:
        try:
            call_admin(admin, "/v1/live")
            return
        except ControlError:
            if time.monotonic() > end_s:
                raise
        if not announced:
            announced = True
            say(f"no server answers on {admin} yet; waiting for one for {_START_S:g} s", sys.stderr)
        time.sleep(_LOOK_S)


def _wait(options: argparse.Namespace) -> int:
    """0 once every version is served, 1 if one failed. ControlError when the time is over."""
    end_s = time.monotonic() + options.timeout
    with waiting("waiting for the server") as tell:
        last_text = ""
        while True:
            status = call_admin(options.admin, "/v1/status")
            coming, failed = _coming(status)
            if not coming and status["settled"]:
                break
            text = f"waiting for {', '.join(coming) or 'the gateways'}"
            if text != last_text:
                last_text = text
                tell(text, 0, 0)
            if time.monotonic() > end_s:
                raise ControlError(f"not done after {age(options.timeout)}: {', '.join(coming) or 'gateways'}")
            time.sleep(_LOOK_S)
    for line in failed:
        say(line, sys.stderr)
    if not options.json and not failed:
        say("every version is available")
    return 1 if failed else 0


def _coming(status: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The versions that are still loading, and those that failed, in words."""
    coming, failed = [], []
    for model in status["models"]:
        for version in model["versions"]:
            name, state = f"{model['name']}/{version['version']}", version["state"]
            if state == "FAILED" and version["retry_in_s"] is None:
                failed.append(f"{name} FAILED: {version['error']}")
            elif state not in ("AVAILABLE", "RETIRED"):
                coming.append(f"{name} ({version['load']['phase'] if version['load'] else state})")
        if model["problem"] and not model["versions"]:
            failed.append(f"{model['name']}: {model['problem']}")
    return coming, failed
