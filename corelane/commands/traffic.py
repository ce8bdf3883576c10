"""`corelane promote`, `corelane rollback` and `corelane traffic`."""

import argparse
import json
import re
from typing import Any
from urllib.parse import quote

from corelane.commands.common import (
    add_admin,
    add_command,
    add_json,
    add_wide,
    call_admin,
    complete_models,
    version_argument,
    who,
)
from corelane.processor.errors import ControlError
from corelane.processor.wire.version_numbers import version_number
from corelane.scheduler.numbers import percent
from corelane.terminal import Column, clock, grid, say, show

_PROMOTE = """\
Gives all calls of a model to one of its versions, at once and without a failed request. The version takes over role and
label of the version with the most calls, and so its cores and the calls for "stable". That version stays loaded without
calls, so that `corelane rollback` is as quick. The command first prints the labels that move. It also changes the
manifest's file, if it can be written; the model's versions must be a list there.

  corelane promote ctr 4
  corelane promote ctr 4 --dry-run
"""
_ROLLBACK = """\
Undoes the last promote or traffic of a model; each further call undoes one more. Or it returns to any of the last fifty
splits, which are kept over restarts. It prints where calls go afterwards.

  corelane rollback ctr
  corelane rollback ctr --list           list earlier splits with their end
  corelane rollback ctr --to 3           return to the third of them
"""
_TRAFFIC = """\
Splits the calls of a model that name no version. Percentages add up to 100; versions without one get no calls. With
sticky_key in the manifest, a growing arm keeps its clients.

  corelane traffic ctr 3=90 4=10
"""


_PERCENTAGE = re.compile(r"[0-9]{1,3}(\.[0-9]*)?")


def add_parser(commands: Any) -> None:
    promote = add_command(commands, "promote", run_promote, "give all calls of a model to one version", _PROMOTE)
    rollback = add_command(commands, "rollback", run_rollback, "undo the last promote or traffic", _ROLLBACK)
    traffic = add_command(commands, "traffic", run_traffic, "split the calls of a model", _TRAFFIC)
    for parser in (promote, rollback, traffic):
        parser.add_argument("model", metavar="MODEL").completer = complete_models  # type: ignore[attr-defined]
    promote.add_argument("version", type=version_argument, metavar="VERSION")
    traffic.add_argument("shares", nargs="+", type=share_argument, metavar="VERSION=PERCENT")
    rollback.add_argument("--list", action="store_true", help="list earlier splits")
    add_wide(rollback)
    rollback.add_argument("--to", type=int, metavar="N", help="return to the N-th split of the list")
    for parser in (promote, rollback, traffic):
        parser.add_argument("--dry-run", action="store_true", help="print the changes without making them")
        add_admin(parser)
        add_json(parser)


def run_promote(options: argparse.Namespace) -> int:
    return _send(options, {"action": "promote", "model": options.model, "version": options.version})


def run_rollback(options: argparse.Namespace) -> int:
    if options.list:
        return _list(options)
    return _send(options, {"action": "rollback", "model": options.model, "back": options.to})


def run_traffic(options: argparse.Namespace) -> int:
    shares: dict[str, float] = {}
    for version, share in options.shares:
        if str(version) in shares:
            raise ControlError(f"version {version} is named twice")
        shares[str(version)] = share
    return _send(options, {"action": "split", "model": options.model, "shares": shares})


def share_argument(text: str) -> tuple[int, float]:
    """The type of an argument VERSION=PERCENT."""
    name, _, share = text.partition("=")
    version = version_number(name)
    if version is None or not _PERCENTAGE.fullmatch(share):
        raise argparse.ArgumentTypeError(f"{text} should be a version and its percentage, such as 4=10")
    return version, float(share)


def _send(options: argparse.Namespace, body: dict[str, Any]) -> int:
    """Prints the labels that will move, makes the change, and prints the result."""
    body["by"] = who()
    announced: list[str] = []
    if options.dry_run or not options.json:
        preview = call_admin(options.admin, "/v1/traffic", {**body, "dry_run": True})
        if options.dry_run:
            text = "\n".join(["This would be so; nothing was changed:", *(f"  {line}" for line in preview["said"])])
            say(json.dumps(preview, indent=2) if options.json else text)
            return 0
        announced = [sentence for sentence in preview["said"] if sentence.startswith("label ")]
        for sentence in announced:
            say(sentence)
    answer = call_admin(options.admin, "/v1/traffic", body)
    others = [sentence for sentence in answer["said"] if sentence not in announced]
    say(json.dumps(answer, indent=2) if options.json else "\n".join(others))
    return 0


def _list(options: argparse.Namespace) -> int:
    answer = call_admin(options.admin, f"/v1/traffic/{quote(options.model, safe='', errors='surrogateescape')}")
    if options.json:
        say(json.dumps(answer, indent=2))
    elif not answer["earlier"]:
        say(f"nothing was promoted or split of model {options.model}")
    else:
        show(grid(_COLUMNS, answer["earlier"], options.output == "wide"))
    return 0


def _arms(split: dict[str, Any]) -> str:
    arms = []
    for entry in split["versions"]:
        share = entry["shadow"] if entry["shadow"] is not None else entry["traffic"]
        kind = " as a shadow" if entry["shadow"] is not None else ""
        label = f" ({entry['label']})" if entry["label"] else ""
        arms.append(f"{entry['version']}{label}{'' if share is None else f' {percent(share)} %'}{kind}")
    return ", ".join(arms)


_COLUMNS = [
    Column("to", lambda split: split["back"]),
    Column("until", lambda split: clock(split["until_s"])),
    Column("versions", _arms),
    Column("then", lambda split: split["said"], wide=True),
    Column("by", lambda split: split["by"], wide=True),
]
