"""`python -m bench.chaos`: one fault after another against a server under load; every answer is checked.

Clients by gRPC (in TensorFlow Serving's protocol and KServe's) and REST call models whose answers tell what gave them,
among them a fused one with batching, while processes are killed and stopped, versions replaced, broken and half copied,
files and caches damaged, ports flooded, and commands misused. Kinds come in a random order that --seed fixes.

faults    how often it was done
answers   answers checked while it was on, and right
failed    calls that failed as this fault allows: Unavailable of a model whose worker was killed, say
wrong     answers that no version could have given, or an error where there should be an answer
hung      calls without an outcome 10 s after their deadline
lost      calls that failed though nothing that was done allows it
recovery  seconds from when it was done to when every version is available, the server ready, and each protocol answers

Exits 1 if anything is wrong, hung or lost, if the server does not recover or leaves a call without a reply, or if it
grows by more than a bound.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.chaos import models
from bench.chaos.faults import FAULTS
from bench.chaos.ledger import Ledger
from bench.chaos.run import Chaos
from bench.environment import describe, header
from corelane.processor.errors import ControlError
from corelane.processor.wire import records
from corelane.terminal import table
from tests.support.cycles import Usage, usage
from tests.support.server import WITH_REST, Server, serving, wait_until

_MEMORY_BYTES_MAX = 192 << 20  # of the supervisor and the gateways; each new gateway process counts anew
_DESCRIPTORS_MAX = 200
_LOGS_BYTES = 4 << 20
_ENVIRONMENT = {"CORELANE_RESTART_BACKOFF_MAX_S": "1", "CORELANE_HEARTBEAT_S": "5"}
_ENDS = ("answered", "failed", "expired", "cancelled", "interrupted")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="every kind is done once, however short (default: %(default)g)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the order of faults and of what they hit (default: %(default)s)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only the kinds of fault that have this in their name"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault.name]
    if not faults:
        parser.error(f"--only {options.only}: there are {', '.join(fault.name for fault in FAULTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models.write(folder)
        ads = models.Ads(folder, options.seed)
        with (
            _small_disk(folder / "logs"),
            serving(folder, models.MANIFEST, listen=WITH_REST, environment=_ENVIRONMENT) as server,
        ):
            chaos = Chaos(server, folder, ads, options.seed)
            chaos.recover()
            before = usage(server)
            chaos.run(options.seconds, faults)
            if server.process.poll() is None:
                _check_replies(server, chaos.ledger)
                _check_logs(folder / "logs", chaos.ledger)
                _check_growth(usage(server).minus(before), chaos.ledger)
    return _tell(chaos.ledger, options)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own for the request logs, where this user may have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_LOGS_BYTES}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _check_replies(server: Server, ledger: Ledger) -> None:
    """Of every version: what was accepted has had its reply."""

    def unanswered() -> list[str]:
        return [
            f"{model['name']}/{version['version']}: {requests}"
            for model in server.status()["models"]
            for version in model["versions"]
            if (requests := version.get("requests")) and requests["accepted"] != sum(requests[end] for end in _ENDS)
        ]

    try:
        wait_until(lambda: not unanswered(), "every accepted call's reply", 30)
    except AssertionError:
        ledger.problem(f"accepted and never answered: {', '.join(unanswered())}")
    except ControlError as error:
        ledger.problem(str(error))


def _check_logs(folder: Path, ledger: Ledger) -> None:
    """Every record is whole, but for the last of a file that is being written, or whose gateway was killed."""
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                count += sum(1 for _ in records.read(path))
            except ValueError as error:
                if path.suffix != ".partial" or str(error) != "it ends within a record":
                    ledger.problem(f"the request log {path.name}: {error}")
    if not count:
        ledger.problem("no request was logged")


def _check_growth(growth: Usage, ledger: Ledger) -> None:
    if growth.memory_bytes > _MEMORY_BYTES_MAX or growth.descriptors > _DESCRIPTORS_MAX:
        ledger.problem(f"the supervisor and the gateways grow: {growth}")


def _tell(ledger: Ledger, options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for kind, tally in sorted(ledger.tallies.items(), key=lambda item: item[0]):
        if kind in ledger.skipped:
            continue
        recoveries = tally.recoveries_s or [0.0]
        rows.append(
            {
                "fault": kind,
                "faults": tally.injected,
                "answers": tally.answers,
                "failed": tally.failed,
                "wrong": tally.wrong,
                "hung": tally.hung,
                "lost": tally.lost,
                "recovery_p50_s": statistics.median(recoveries),
                "recovery_max_s": max(recoveries),
            }
        )
    sums = {name: ledger.total(name) for name in ("injected", "answers", "failed", "wrong", "hung", "lost")}
    fine = not ledger.problems and not any(sums[name] for name in ("wrong", "hung", "lost"))
    if options.json:
        print(
            json.dumps(
                {
                    "environment": describe(),
                    "seed": options.seed,
                    "rows": rows,
                    "total": sums,
                    "callers": dict(ledger.by_caller),
                    "skipped": ledger.skipped,
                    "kinds": [fault.name for fault in FAULTS],
                    "problems": ledger.problems,
                },
                indent=2,
            )
        )
        return 0 if fine else 1
    print(header())
    print(f"{'seed':<17} {options.seed}\n")
    columns = ["fault", "faults", "answers", "failed", "wrong", "hung", "lost", "recovery p50 s", "max s"]
    cells = [[f"{value:.1f}" if isinstance(value, float) else value for value in row.values()] for row in rows]
    print(table(columns, [*cells, ["all", *sums.values(), None, None]]))
    print("\nanswers by caller: " + ", ".join(f"{name} {count}" for name, count in sorted(ledger.by_caller.items())))
    for kind, reason in ledger.skipped.items():
        print(f"not done: {kind}: {reason}")
    for text, count in ledger.problems.items():
        print(f"{count} times: {text}" if count > 1 else text)
    if fine:
        print("no fault of the server's")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
