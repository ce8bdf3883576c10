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
Validates a manifest and the folders that it names. Prints each error as file:line:column with a correction, and exits 2
if there is one: a wrong key or value, a path that is a file or a single version's folder, a port used twice. Warns of
valid but surprising parts: a folder or a listed version that does not exist yet, two version folders with one number,
a name that REST cannot carry.

  corelane check manifest.yaml
  corelane check manifest.yaml --json | jq '.details[] | {line, column, key, message}'
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "check", run, "validate a manifest", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    try:
        examination = examine(options.manifest)
    except ManifestError as error:
        examination = Examination(problems=error.faults)
    if options.json:
        say(json.dumps(_as_json(examination), indent=2))
    else:
        for fault in examination.problems:
            _show(fault, str(fault))
        for fault in examination.warnings:
            _show(fault, f"{fault.place}: warning: {fault.sentence}")
        if not examination.problems:
            say(f"{options.manifest}: valid, {examination.models} {'model' if examination.models == 1 else 'models'}")
    return 2 if examination.problems else 0


def _show(fault: ManifestProblem, line: str) -> None:
    say(f"{line}\n{fault.excerpt}" if fault.excerpt else line, file=sys.stderr)


def _as_json(examination: Examination) -> dict[str, Any]:
    """`details` has the parts of each problem and warning."""
    return {
        "valid": not examination.problems,
        "problems": [str(fault) for fault in examination.problems],
        "warnings": [fault.sentence for fault in examination.warnings],
        "details": [
            {
                "severity": severity,
                "line": fault.line,
                "column": fault.column,
                "key": fault.key,
                "message": fault.sentence,
            }
            for severity, faults in (("error", examination.problems), ("warning", examination.warnings))
            for fault in faults
        ],
    }
