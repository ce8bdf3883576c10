"""`corelane demo`."""

import argparse
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Shows the whole thing on generated clicks: trains six small models (one to three minutes, once), serves them, and tells
a story with real calls over gRPC: a canary at 5 %, promoted and rolled back; a worker killed and back; a version
replaced; an A/B version in overload beside a baseline, with and without the scheduler. Then it checks every version's
answers against its engine in this process, and prints who has which cores, and how many calls failed.

  corelane demo
  corelane demo --short         fewer clicks and shorter acts: a check that all of it works
  corelane demo --keep          stays up after its calls: try `corelane status` and `corelane predict` beside it
  corelane demo --port 9500     gRPC there, REST and the admin port on the two after it
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "demo", run, "train, serve and call small real models", _DESCRIPTION)
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where configs/demo.yaml and the models are or go (default: here, if it has configs/, else corelane-demo)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="of gRPC; REST and admin have the next two; 0: any (default: 8500, any where those are taken)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="calls after each change (default: 3, short: 1)")
    parser.add_argument("--short", action="store_true", help="train on fewer clicks, and call for a second at a time")
    parser.add_argument("--retrain", action="store_true", help="train even if the models are there")
    parser.add_argument("--keep", action="store_true", help="serve on after the calls until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    from corelane.demo.run import run_demo

    folder = options.folder or (Path() if Path("configs/demo.yaml").exists() else Path("corelane-demo"))
    act_s = options.seconds or (1.0 if options.short else 3.0)
    return run_demo(folder, act_s, port=options.port, retrain=options.retrain, keep=options.keep, short=options.short)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65533):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65533, or 0 for any")
    return int(text)
