"""`corelane replay`."""

import argparse
import itertools
import json
import statistics
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from corelane.commands.common import add_command, add_json, add_server, version_argument
from corelane.processor.channel.methods import Method
from corelane.processor.errors import ControlError
from corelane.processor.gateway.shadows import largest_difference
from corelane.processor.wire.prediction_log import read_logs
from corelane.terminal import say, table

_DESCRIPTION = """\
Sends recorded calls to a server again, and compares the answers with the recorded ones. Files are TFRecords of
PredictionLogs: from the request log (`request_log` in the manifest), from TensorFlow Serving, or a warm-up file.

  corelane replay logs/ctr-*.tfrecord
  corelane replay logs/ctr-*.tfrecord --version 4 --rate 200 --repeat 10
"""
_SERVICE = "/tensorflow.serving.PredictionService/"
_NAMES = {
    Method.PREDICT: "Predict",
    Method.CLASSIFY: "Classify",
    Method.REGRESS: "Regress",
    Method.MULTI_INFERENCE: "MultiInference",
}
_BYTES_MAX = 2**31 - 1
_PROGRESS_S = 2.0
Recorded = tuple[Method, bytes, bytes | None]


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "replay", run, "send recorded calls again", _DESCRIPTION)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    add_server(parser)
    parser.add_argument("--model", help="send them to this model (default: as recorded)")
    parser.add_argument(
        "--version", type=version_argument, help="send them to this version (default: the server chooses)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="PER_SECOND",
        help="calls a second, evenly spaced (default: as many as possible)",
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="send everything N times")
    parser.add_argument(
        "--callers",
        type=int,
        default=4,
        metavar="N",
        help="number of calls under way (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="timeout of a call (default: %(default)s)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    calls = _read(options)
    summary = _replay(calls, options)
    say(json.dumps(summary, indent=2) if options.json else _render(summary))
    return 0 if summary["failed"] == 0 else 1


def _read(options: argparse.Namespace) -> list[Recorded]:
    calls: list[Recorded] = []
    for path in options.files:
        try:
            for method, request, response in read_logs(path):
                specs = (
                    [task.model_spec for task in request.tasks]
                    if method is Method.MULTI_INFERENCE
                    else [request.model_spec]
                )
                for spec in specs:
                    spec.name = options.model or spec.name
                    spec.ClearField("version_choice")
                    if options.version is not None:
                        spec.version.value = options.version
                recorded = None if response is None else response.SerializeToString()
                calls.append((method, request.SerializeToString(), recorded))
        except (OSError, ValueError) as error:
            raise ControlError(f"{path} cannot be read: {error}") from error
    if not calls:
        raise ControlError("there are no calls in " + ", ".join(str(path) for path in options.files))
    return calls


def _replay(calls: list[Recorded], options: argparse.Namespace) -> dict[str, Any]:
    """Sends them, and counts."""
    latencies_ms: list[float] = []
    differences: list[float] = []
    errors: dict[str, int] = {}
    lock = threading.Lock()
    limits = [("grpc.max_receive_message_length", _BYTES_MAX), ("grpc.max_send_message_length", _BYTES_MAX)]
    with grpc.insecure_channel(options.server, options=limits) as channel:
        stubs = {method: channel.unary_unary(_SERVICE + name) for method, name in _NAMES.items()}

        def send(call: Recorded) -> None:
            method, request, recorded = call
            started_s = time.perf_counter()
            try:
                answer = stubs[method](request, timeout=options.timeout)
            except grpc.RpcError as error:
                words = f"{error.code().name}: {error.details()}"[:200]
                with lock:
                    errors[words] = errors.get(words, 0) + 1
                return
            took_ms = (time.perf_counter() - started_s) * 1000
            difference = None if recorded is None else largest_difference(method, recorded, answer)
            with lock:
                latencies_ms.append(took_ms)
                if difference is not None:
                    differences.append(difference)

        started_s = time.perf_counter()
        told_s = started_s
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(options.callers) as threads:
            for number, call in enumerate(itertools.chain.from_iterable(itertools.repeat(calls, options.repeat))):
                if options.rate:
                    time.sleep(max(0.0, started_s + number / options.rate - time.perf_counter()))
                while len(under_way) >= 4 * options.callers:
                    under_way = {future for future in under_way if not future.done()}
                    time.sleep(0.0005)
                under_way.add(threads.submit(send, call))
                if time.perf_counter() - told_s > _PROGRESS_S:
                    told_s = time.perf_counter()
                    say(f"sent {number + 1} of {len(calls) * options.repeat}", file=sys.stderr)
        seconds = time.perf_counter() - started_s
    ordered = sorted(latencies_ms)
    finite = [difference for difference in differences if difference != float("inf")]
    return {
        "calls": len(calls) * options.repeat,
        "answered": len(ordered),
        "failed": sum(errors.values()),
        "errors": errors,
        "seconds": seconds,
        "per_second": len(ordered) / seconds,
        "p50_ms": statistics.median(ordered) if ordered else None,
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else None,
        "compared": len(differences),
        "equal": differences.count(0.0),
        "unlike": len(differences) - len(finite),
        "largest_difference": max(finite, default=None),
    }


def _render(summary: dict[str, Any]) -> str:
    def ms(value: float | None) -> str | None:
        return None if value is None else f"{value:.2f}"

    header = ["calls", "answered", "failed", "per second", "p50 ms", "p99 ms"]
    row = [summary["calls"], summary["answered"], summary["failed"], f"{summary['per_second']:.1f}"]
    lines = [table(header, [[*row, ms(summary["p50_ms"]), ms(summary["p99_ms"])]]), ""]
    if summary["compared"]:
        largest = summary["largest_difference"]
        lines.append(
            f"{summary['compared']} answers compared with the recorded ones: {summary['equal']} equal, "
            f"{summary['unlike']} of other names, shapes or texts; largest difference of numbers "
            f"{'-' if largest is None else f'{largest:.3g}'}"
        )
    lines += [f"{count} failed with {words}" for words, count in sorted(summary["errors"].items())]
    return "\n".join(lines)
