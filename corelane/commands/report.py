"""`corelane report`."""

import argparse
import json
from pathlib import Path
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, add_wide, call_admin
from corelane.core_map import as_page, as_text
from corelane.processor.errors import ControlError
from corelane.terminal import say

_DESCRIPTION = """\
Who has which cores of a running server, and why: a row for every version with what is predicted and what was
measured, a map of the cores, a sentence for each decision, and the last changes.

  corelane report
  corelane report -o wide                all columns: role, sessions, p50, precision, memory
  corelane report --json | jq '.versions[] | {model, version, cpus, why}'
  corelane report --html cores.html      one page with everything in it, the core map drawn

The JSON is described in docs/api.md; the number of its form is in `schema`.
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "report", run, "who has which cores, and why", _DESCRIPTION)
    add_admin(parser)
    add_json(parser)
    add_wide(parser)
    add_html(parser)


def add_html(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the report as one self-contained page")


def run(options: argparse.Namespace) -> int:
    show(call_admin(options.admin, "/v1/report"), options)
    return 0


def show(report: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints the report as the options say, and writes the page."""
    if options.html is not None:
        try:
            options.html.write_text(as_page(report))
        except OSError as error:
            raise ControlError(f"{options.html} cannot be written: {error.strerror}") from error
    say(json.dumps(report, indent=2) if options.json else as_text(report, options.output == "wide"))
