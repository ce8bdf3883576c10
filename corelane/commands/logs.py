"""`corelane logs`."""

import argparse
import json
import time
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, add_model, call_admin, model_and_version, query
from corelane.terminal import clock, say

_DESCRIPTION = """\
The newest lines of a running server's log, which it keeps in memory (5,000 of them) beside writing them to its standard
error; of one model or version, its worker's own lines included.

  corelane logs
  corelane logs ctr/3 --follow
"""
_LIMIT = 100
_LOOK_S = 0.5


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "logs", run, "the log's newest lines, of a model or version", _DESCRIPTION)
    add_model(parser, version=True)
    parser.add_argument("-n", "--limit", type=int, default=_LIMIT, metavar="N", help="so many (default: 100)")
    parser.add_argument("-f", "--follow", action="store_true", help="print what comes from now on, too, until Ctrl-C")
    add_admin(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    names = [model["name"] for model in call_admin(options.admin, "/v1/status")["models"]] if options.model else []
    model, version = model_and_version(options.model, names)
    limit: int | None = max(0, options.limit)
    after = 0
    while True:
        asked = query("/v1/logs", model=model or None, version=version, limit=limit, after=after)
        for line in call_admin(options.admin, asked)["lines"]:
            after, limit = line["number"], None
            say(json.dumps(line) if options.json else f"{clock(line['at_s'])} {line['level']} {line['text']}")
        if not options.follow:
            return 0
        time.sleep(_LOOK_S)
