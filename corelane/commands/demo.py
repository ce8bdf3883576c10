"""`corelane demo`."""

import argparse
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Shows Corelane on generated clicks. It trains six small models (one to three minutes, once) and serves them. Then it
makes real calls over gRPC: a canary at 5 % is promoted and rolled back; a killed worker comes back; a version is
replaced; an A/B version in overload runs beside a baseline, with and without the scheduler. At the end it compares
every version's answers with its engine in this process, and prints the owner of each core and the number of failed
calls.

  corelane demo
  corelane demo --short         fewer clicks and shorter acts, to check that it works
  corelane demo --keep          keeps serving after its calls: try `corelane status` and `corelane predict` beside it
  corelane demo --port 9500     gRPC on this port, REST and admin on the next two
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "demo", run, "train, serve and call small real models", _DESCRIPTION)
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder of configs/demo.yaml and the models (default: this one, if it has configs/, else corelane-demo)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="gRPC port; REST and admin have the next two; 0: any free ports (default: 8500, or any if taken)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="seconds of calls after each change (default: 3, short: 1)",
    )
    parser.add_argument("--short", action="store_true", help="train on fewer clicks, and call for one second at a time")
    parser.add_argument("--retrain", action="store_true", help="train even if the models exist")
    parser.add_argument("--keep", action="store_true", help="keep serving after the calls until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    from corelane.demo.run import run_demo

    folder = options.folder or (Path() if Path("configs/demo.yaml").exists() else Path("corelane-demo"))
    act_s = options.seconds or (1.0 if options.short else 3.0)
    return run_demo(folder, act_s, port=options.port, retrain=options.retrain, keep=options.keep, short=options.short)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65533):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65533, or 0 for any")
    return int(text)
