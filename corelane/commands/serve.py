"""`corelane serve`."""

import argparse
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Serves the models of a manifest, in the foreground.

Logs `ready` once every model has an available version or has failed for good; `corelane status` shows which. The server
watches the file: it applies a valid change; it logs an invalid one and changes nothing (SIGHUP looks at once). On
SIGTERM or Ctrl-C it accepts no more calls, answers the accepted ones, and exits 0; a second signal ends it at once.

  corelane serve configs/demo.yaml
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "serve", run, "serve a manifest in the foreground", _DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")


def run(options: argparse.Namespace) -> int:
    # The server's imports would double the start of every other command.
    from corelane.processor.supervisor.serve import serve

    serve(options.manifest)
    return 0
