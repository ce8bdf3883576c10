"""`corelane logs`."""

import argparse
import json
import time
from typing import Any

from corelane.commands.common import add_command, add_newest, call_admin, newest, query
from corelane.terminal import clock, say

_DESCRIPTION = """\
Prints the newest lines of a running server's log. The server writes its log to standard error, and keeps 5,000 lines in
memory. With a model or version, only its lines are printed, including its worker's own.

  corelane logs
  corelane logs ctr/3 --follow
"""
_LIMIT = 100
_LOOK_S = 0.5


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "logs", run, "print the newest log lines", _DESCRIPTION)
    add_newest(parser, _LIMIT)


def run(options: argparse.Namespace) -> int:
    asked = {**newest(options), "after": 0}
    while True:
        for line in call_admin(options.admin, query("/v1/logs", **asked))["lines"]:
            asked |= {"after": line["number"], "limit": None}
            say(json.dumps(line) if options.json else f"{clock(line['at_s'])} {line['level']} {line['text']}")
        if not options.follow:
            return 0
        time.sleep(_LOOK_S)
