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
Shows the core allocation of a running server: a row for every version with predicted and measured latencies, a map of
the cores, a sentence for each decision, and the last changes.

  corelane report
  corelane report -o wide                all columns: role, sessions, p50, precision, memory
  corelane report --json | jq '.versions[] | {model, version, cpus, why}'
  corelane report --html cores.html      a self-contained page with a drawn map of the cores

docs/api.md describes the JSON; `schema` is the number of its form.
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "report", run, "show the owner of each core, and why", _DESCRIPTION)
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
    """Prints the report by the options, and writes the page."""
    if options.html is not None:
        try:
            options.html.write_text(as_page(report))
        except OSError as error:
            raise ControlError(f"{options.html} cannot be written: {error.strerror}") from error
    say(json.dumps(report, indent=2) if options.json else as_text(report, options.output == "wide"))
