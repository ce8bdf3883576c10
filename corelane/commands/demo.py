"""`corelane demo`."""

import argparse
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Shows the whole thing on generated clicks: trains six small models (one to three minutes, once), serves them from
configs/demo.yaml, calls them over gRPC with mixed traffic, checks every version's answers against its engine in this
process, and prints who served what.

  corelane demo
  corelane demo --short         fewer clicks and two seconds of traffic: a check that all of it works
  corelane demo --keep          stays up afterwards: try `corelane status` and `corelane predict` beside it
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "demo", run, "train, serve and call small real models", _DESCRIPTION)
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where configs/demo.yaml and the models are or go (default: here, if it has configs/, else corelane-demo)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the traffic (default: 8, short: 2)")
    parser.add_argument("--short", action="store_true", help="train on fewer clicks, and call for two seconds")
    parser.add_argument("--retrain", action="store_true", help="train even if the models are there")
    parser.add_argument("--keep", action="store_true", help="serve on until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    from corelane.demo.run import run_demo

    folder = options.folder or (Path() if Path("configs/demo.yaml").exists() else Path("corelane-demo"))
    seconds = options.seconds or (2.0 if options.short else 8.0)
    return run_demo(folder, seconds, retrain=options.retrain, keep=options.keep, short=options.short)
