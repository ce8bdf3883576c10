"""`corelane check`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json
from corelane.processor.errors import ManifestError, ManifestProblem
from corelane.processor.manifest.examination import Examination, examine
from corelane.terminal import say

_DESCRIPTION = """\
Validates a manifest, and looks at the folders that it names. Prints each error as file:line:column with what would be
right, and exits 2: keys and values, a path that is a file or one version's folder, a port that stands twice. Warns of
what is valid but may surprise: a folder or a listed version that is not there yet, two version folders of one number, a
name that REST cannot carry.

  corelane check manifest.yaml
  corelane check manifest.yaml --json | jq '.details[] | {line, column, key, message}'
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "check", run, "validate a manifest", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    try:
        seen = examine(options.manifest)
    except ManifestError as error:
        seen = Examination(problems=error.faults)
    if options.json:
        say(json.dumps(_as_json(seen), indent=2))
    else:
        for fault in seen.problems:
            _show(fault, str(fault))
        for fault in seen.warnings:
            _show(fault, f"{fault.place}: warning: {fault.sentence}")
        if not seen.problems:
            say(f"{options.manifest}: valid, {seen.models} {'model' if seen.models == 1 else 'models'}")
    return 2 if seen.problems else 0


def _show(fault: ManifestProblem, line: str) -> None:
    say(f"{line}\n{fault.excerpt}" if fault.excerpt else line, file=sys.stderr)


def _as_json(seen: Examination) -> dict[str, Any]:
    """`details` has what is in `problems` and `warnings` by its parts."""
    return {
        "valid": not seen.problems,
        "problems": [str(fault) for fault in seen.problems],
        "warnings": [fault.sentence for fault in seen.warnings],
        "details": [
            {
                "severity": severity,
                "line": fault.line,
                "column": fault.column,
                "key": fault.key,
                "message": fault.sentence,
            }
            for severity, faults in (("error", seen.problems), ("warning", seen.warnings))
            for fault in faults
        ],
    }
