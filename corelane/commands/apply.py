"""`corelane apply`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, call_admin, say
from processor.errors import ManifestError
from processor.manifest import load_manifest

_DESCRIPTION = """\
Makes a running server match a manifest: loads what is new, drains what is gone, and leaves alone what did not change.
An invalid manifest changes nothing (exit 2). listen and host need a restart.

  corelane apply manifest.yaml
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "apply", run, "make a running server match a manifest", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    add_admin(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    try:
        load_manifest(options.manifest)
    except ManifestError as error:
        say(error, file=sys.stderr)
        return 2
    body = {
        "manifest": options.manifest.read_text(),
        "base": str(options.manifest.resolve().parent),
        "source": str(options.manifest),
    }
    answer = call_admin(options.admin, "/v1/apply", body)
    say(json.dumps(answer, indent=2) if options.json else f"applied {options.manifest}; see `corelane status`")
    return 0
