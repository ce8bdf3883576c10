"""`corelane events`."""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from corelane.commands.common import add_command, add_newest, call_admin, newest, query
from corelane.processor.logs.lines import escaped
from corelane.terminal import clock, say, show

_DESCRIPTION = """\
Lists events: loads, failures with reasons, crashes, restarts, promotions with their users, splits, changed cores. The
server keeps the newest 1,000 in CORELANE_STATE, over restarts.

  corelane events
  corelane events ctr/3 --limit 20
  corelane events --follow
  corelane events --json | jq -r '.events[] | select(.kind == "crashed") | .text'
"""
_LIMIT = 50
_LOOK_S = 1.0
_STYLES = {"failed": "bold red", "crashed": "bold red", "refused": "red", "gateway": "red", "traffic": "yellow"}


def add_parser(commands: Any) -> None:
    parser = add_command(
        commands, "events", run, "list events: loads, crashes, promotions and their users", _DESCRIPTION
    )
    add_newest(parser, _LIMIT)


def run(options: argparse.Namespace) -> int:
    asked = newest(options)
    answer = call_admin(options.admin, query("/v1/events", **asked))
    if options.json and not options.follow:
        say(json.dumps(answer, indent=2))
        return 0
    seen_s = 0.0
    while True:
        news = [event for event in answer["events"] if event["at_s"] > seen_s]
        for event, line in zip(news, lines_of(news), strict=True):
            if options.json:
                say(json.dumps(event))
            else:
                show(line)
            seen_s = event["at_s"]
        if not options.follow:
            return 0
        time.sleep(_LOOK_S)
        answer = call_admin(options.admin, query("/v1/events", **{**asked, "limit": None}))


def lines_of(events: list[dict[str, Any]]) -> Iterator[Text]:
    """A line for each."""
    for event in events:
        name = event["model"] if event["version"] is None else f"{event['model']}/{event['version']}"
        by = f" (by {event['by']})" if event["by"] else ""
        text = Text(f"{clock(event['at_s'])}  ")
        text.append(f"{event['kind']:11}", style=_STYLES.get(event["kind"], ""))
        text.append(escaped(f" {name + ': ' if name else ''}{event['text'].removeprefix('cores: ')}{by}"))
        yield text
