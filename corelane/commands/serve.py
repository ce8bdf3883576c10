"""`corelane serve`."""

import argparse
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Serves the models of a manifest, in the foreground.

Logs `ready` once every model has a version available or has failed for good; `corelane status` says which. The file is
watched: a valid change is applied, an invalid one is logged and changes nothing (SIGHUP looks at once). SIGTERM or
Ctrl-C takes no more calls, answers those accepted, and exits 0; a second one ends at once.

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
