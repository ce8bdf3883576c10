"""`corelane promote`, `corelane rollback` and `corelane traffic`."""

import argparse
import json
import math
from typing import Any

from corelane.commands.common import add_admin, add_command, add_json, call_admin, say, version_argument
from processor.errors import ControlError
from processor.version_numbers import version_number

_PROMOTE = """\
Gives all calls of a model to one of its versions, at once and without a failed request. It takes over role and label of
the version that had the most (its cores, that is, and who asks for "stable"); that one stays loaded without calls, so
that `corelane rollback` is as quick. The manifest's file is changed as well, where it can be written; the model's
versions must be a list there.

  corelane promote ctr 4
"""
_ROLLBACK = """\
Undoes the last promote or traffic of a model; up to twenty since the server started, one after the other.

  corelane rollback ctr
"""
_TRAFFIC = """\
Splits the calls of a model that name no version. Percentages add up to 100; versions that are not named get none. With
sticky_key in the manifest, an arm that grows keeps those that it has.

  corelane traffic ctr 3=90 4=10
"""


def add_parser(commands: Any) -> None:
    promote = add_command(commands, "promote", run_promote, "give all calls of a model to one version", _PROMOTE)
    promote.add_argument("model", metavar="MODEL")
    promote.add_argument("version", type=version_argument, metavar="VERSION")
    rollback = add_command(commands, "rollback", run_rollback, "undo the last promote or traffic", _ROLLBACK)
    rollback.add_argument("model", metavar="MODEL")
    traffic = add_command(commands, "traffic", run_traffic, "split the calls of a model", _TRAFFIC)
    traffic.add_argument("model", metavar="MODEL")
    traffic.add_argument("shares", nargs="+", metavar="VERSION=PERCENT")
    for parser in (promote, rollback, traffic):
        add_admin(parser)
        add_json(parser)


def run_promote(options: argparse.Namespace) -> int:
    return _send(options, {"action": "promote", "model": options.model, "version": options.version})


def run_rollback(options: argparse.Namespace) -> int:
    return _send(options, {"action": "rollback", "model": options.model})


def run_traffic(options: argparse.Namespace) -> int:
    shares: dict[str, float] = {}
    for text in options.shares:
        name, _, share = text.partition("=")
        version = version_number(name)
        try:
            if version is None or not math.isfinite(float(share)):
                raise ValueError
            if str(version) in shares:
                raise ControlError(f"version {version} is named twice")
            shares[str(version)] = float(share)
        except ValueError:
            raise ControlError(f"{text} should be a version and its percentage, such as 4=10") from None
    return _send(options, {"action": "split", "model": options.model, "shares": shares})


def _send(options: argparse.Namespace, body: dict[str, Any]) -> int:
    answer = call_admin(options.admin, "/v1/traffic", body)
    say(json.dumps(answer, indent=2) if options.json else "\n".join(answer["said"]))
    return 0
