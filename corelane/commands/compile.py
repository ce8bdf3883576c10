"""`corelane compile`."""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from corelane.commands.common import add_command, add_json
from corelane.commands.profile import version_folder
from corelane.processor.plans.speed import Cost
from corelane.terminal import say, table, waiting

_DESCRIPTION = """\
Makes a fused plan of a SavedModel. Native kernels run its features, OpenVINO runs the dense part, and TensorFlow runs
the ops that OpenVINO cannot run. The plan is compared with the original on recorded and generated requests, and is
written only if they agree. To serve it, copy OUT to MODEL/NUMBER; or set `engine: fused`, which compiles at the first
load.

  corelane compile models/ctr/3 plans/ctr/3
  corelane compile models/ctr/3 plans/ctr/3 --explain
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "compile", run, "make a fused plan of a SavedModel", _DESCRIPTION)
    parser.add_argument("saved_model", type=Path, metavar="SAVED_MODEL", help="a version's folder, or a model's")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the plan; must not exist")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print the rules used, and the ops that are not fused, with reasons",
    )
    parser.add_argument("--stop-after", type=int, metavar="N", help="use at most N rules, to find a wrong one")
    parser.add_argument("--saved-model-tags", default="serve", metavar="TAG,...", help="tags of the graph to compile")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from corelane.processor.plans.fusing import compile_and_compare

    folder = version_folder(options.saved_model)
    began_s = time.perf_counter()
    tags = tuple(options.saved_model_tags.split(","))
    with waiting(f"reading {folder}") as on_step:
        result = compile_and_compare(folder, options.out, stop_after=options.stop_after, tags=tags, on_step=on_step)
    took_s = time.perf_counter() - began_s
    if options.json:
        reports = [dataclasses.asdict(report) for report in result.reports]
        document = {"out": str(options.out), "seconds": took_s, "signatures": reports}
        costs = [{**dataclasses.asdict(cost), "ratio": cost.ratio} for cost in result.costs]
        say(json.dumps({**document, "equality": dataclasses.asdict(result.equality), "costs": costs}, indent=2))
        return 0
    fused = [report for report in result.reports if report.why_not is None]
    rows = [[report.signature, report.nodes_before, report.nodes_after, report.columns] for report in fused]
    say(table(["signature", "nodes before", "after", "columns fused"], rows))
    for report in result.reports:
        if report.why_not is not None:
            say(f"\n{report.signature}: TensorFlow runs it: {report.why_not}")
        elif report.why_tensorflow:
            say(f"\n{report.signature}: TensorFlow runs what is behind the features: {report.why_tensorflow}")
    if options.explain:
        for report in fused:
            say(f"\n{report.signature}: rules used")
            for rule, (count, nodes) in sorted(report.rules.items(), key=lambda item: -item[1][0]):
                say(f"  {count:6}  {rule}: {', '.join(nodes)}{', ...' if count > len(nodes) else ''}")
            for name, why in report.blocked.items():
                say(f"  input {name} is not fused: {why}")
    same = result.equality
    say(
        f"\nequal to the original within {same.difference:.1g} of the largest output on {same.accepted} requests; "
        f"{same.requests - same.accepted} are refused by both\n"
    )
    say(table(["rows", "tensorflow ms", "fused ms", "speed-up"], [_row(report) for report in result.costs]))
    say(f"\n{options.out} written in {took_s:.1f} s")
    return 0


def _row(cost: Cost) -> list[str]:
    return [f"{cost.rows}", f"{cost.original_ms:.3f}", f"{cost.other_ms:.3f}", f"{cost.ratio:.1f}x"]
