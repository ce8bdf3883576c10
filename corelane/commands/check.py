"""`corelane check`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json
from corelane.terminal import say
from processor.errors import ManifestError
from processor.manifest import advice, load_manifest

_DESCRIPTION = """\
Validates a manifest. Prints each error with its line and what would be right, and exits 2; warns of what is valid but
may surprise: a folder that is not there yet, two version folders of one number, a name that REST cannot carry.

  corelane check manifest.yaml
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "check", run, "validate a manifest", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    problems: list[str] = []
    warnings: list[str] = []
    try:
        manifest = load_manifest(options.manifest)
        warnings = advice.warnings(manifest)
    except ManifestError as error:
        problems = error.problems
    if options.json:
        say(json.dumps({"valid": not problems, "problems": problems, "warnings": warnings}, indent=2))
    else:
        for line in problems:
            say(line, file=sys.stderr)
        for line in warnings:
            say(f"warning: {line}", file=sys.stderr)
        if not problems:
            say(f"{options.manifest}: valid, {len(manifest.models)} models")
    return 2 if problems else 0
