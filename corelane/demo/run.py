"""The demo's run: train, serve, and a story that real calls tell."""

import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from corelane.client import Client
from corelane.core_map import as_text
from corelane.demo import story
from corelane.demo.checks import Check, check, stderr_into
from corelane.demo.clicks import Clicks, auc, generate
from corelane.demo.overload import Overload, measure
from corelane.demo.server import PORT, DemoFailed, DemoServer, manifest_of
from corelane.demo.traffic import Key, Traffic, inputs_of
from corelane.demo.train import VERSIONS
from corelane.processor.errors import CorelaneError, RequestError
from corelane.terminal import table

_CHECK_ROWS = 1000
_SHORT = "--short"
_NEEDED = ("tensorflow", "onnxruntime", "openvino", "onnx")
_TRIAL = 3


def run_demo(folder: Path, act_s: float, *, port: int | None, retrain: bool, keep: bool, short: bool = False) -> int:
    """The exit code. DemoFailed says what went wrong, after all that was measured is printed. `short` trains on fewer
    clicks; `act_s`: how long calls go on after each change."""
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise DemoFailed(f"{', '.join(missing)} not installed: pip install 'corelane[demo]'")
    document = manifest_of(folder, port)
    models = folder / "demo-models"
    with _alone_in(models):
        return _tell(document, models, act_s, port=port, retrain=retrain, keep=keep, short=short)


def _tell(
    document: dict[str, Any], models: Path, act_s: float, *, port: int | None, retrain: bool, keep: bool, short: bool
) -> int:
    _title("Six models learn who clicks what")
    _train(models, retrain, short)
    story.forget_new_version(models)
    problems: list[str] = []
    rows = generate(_CHECK_ROWS, seed=11)

    with _serving(document, models, "served") as server:
        _title(f"They are served: a process for each version (log: {server.log})")
        if not server.grpc.endswith(f":{PORT}") and port is None:
            _say(f"on {server.grpc}, as port {PORT} or one of the two after it is taken")
        server.wait_until_ready(_say)
        began_s = time.monotonic()
        with Client(server.grpc) as client:
            with Traffic(client, rows) as traffic:
                stage = story.Stage(server=server, client=client, rows=rows, traffic=traffic, say=_say, act_s=act_s)
                for title, act in (
                    ("A call", story.a_call),
                    ("A canary, promoted and rolled back", story.a_canary),
                    ("A worker dies", story.a_crash),
                    ("A version is replaced", story.a_new_version),
                ):
                    _title(title)
                    try:
                        act(stage)
                    except CorelaneError as error:  # what comes after it is still worth seeing
                        _say(f"  {error}")
                        problems.append(str(error))
            served = {(name, v["version"]): v for name, v in server.versions() if v["state"] == "AVAILABLE"}
            scores = {key: _served_scores(client, key, rows) for key in served}
        report = server.ask("/v1/report")
        _title(f"An A/B version is overloaded: what callers of {_name(story.STABLE)} notice")
        _say(f"{_name(_TRIAL)} gets batches of 200 rows, more than it can answer, for {2 * act_s:g} s")
        with_cores = measure(server.grpc, "ctr", story.STABLE, _TRIAL, 2 * act_s)
        if keep:
            print(f"\nStill serving on {server.grpc}; Ctrl-C ends it.", flush=True)
            _wait_for_interrupt(server)
    with _serving(_without_scheduler(document), models, "without-scheduler") as other:
        _say("and the same without the scheduler (`host: {scheduler: disabled}`)")
        other.wait_until_ready(lambda text: None)
        without = measure(other.grpc, "ctr", story.STABLE, _TRIAL, 2 * act_s)
    _say(f"\n{_overload_table(with_cores, without)}\n\n{_overload_sentence(with_cores, without, short)}")

    _title("Right: every answer compared with the version's own engine in this process")
    with stderr_into(server.log):
        checks = {
            key: check(server.manifest, *key, rows, scores[key], version["precision"])
            for key, version in served.items()
        }
    story.forget_new_version(models)
    text = _measured(served, traffic, rows, scores, checks)
    text += (
        f"\n\n== Who has which cores, and why (`corelane report`)\n\n{as_text(report, wide=False)}\n\n{_fused(served)}"
    )
    problems += [check.problem for check in checks.values() if check.problem]
    show(text, problems, traffic.errors)
    calls = sum(traffic.answers().values())
    print(
        f"\n0 calls failed of {calls}. The story took {time.monotonic() - began_s:.0f} s after the loads; "
        "both servers drained and exited 0."
    )
    return 0


def show(report: str, problems: Sequence[str], errors: Sequence[RequestError]) -> None:
    """Prints all that was measured, then each error that calls ended with. DemoFailed if there is anything wrong."""
    print(f"\n{report}")
    problems = list(problems)
    if errors:
        print("\n".join(sorted({f"{type(error).__name__} {error}" for error in errors})))
        problems.append(f"{len(errors)} calls failed; the first: {errors[0]}")
    if problems:
        raise DemoFailed("; ".join(problems))


@contextmanager
def _alone_in(models: Path) -> Iterator[None]:
    """DemoFailed if another demo has the folder, or it cannot be written."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock = (models / "lock").open("w")
    except OSError as error:
        raise DemoFailed(f"{models} cannot be written: {error.strerror}; choose another --folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another demo has {models}; choose another --folder") from None
        yield


@contextmanager
def _serving(document: dict[str, Any], models: Path, name: str) -> Iterator[DemoServer]:
    """Ends the server whatever happens. DemoFailed if it does not end well."""
    server = DemoServer(document, models, name)
    try:
        yield server
    finally:
        code = server.stop()
    if code != 0:
        raise DemoFailed(f"the server ended with {code}; see {server.log}")


def _without_scheduler(document: dict[str, Any]) -> dict[str, Any]:
    """The two versions of the overload, by themselves."""
    (model,) = (entry for entry in document["models"] if entry["name"] == "ctr")
    listed = [entry for entry in model["versions"] if entry["version"] in (story.STABLE, _TRIAL)]
    listed = [{name: value for name, value in entry.items() if name != "traffic"} for entry in listed]
    host = {**(document.get("host") or {}), "scheduler": "disabled"}
    return {**document, "host": host, "models": [{**model, "versions": listed}]}


def _train(models: Path, retrain: bool, short: bool) -> None:
    done = models / "trained"
    # Models of a short training serve a short demo only.
    there = done.exists() and all((models / version).is_dir() for version in VERSIONS)
    if there and not retrain and (short or done.read_text() != _SHORT):
        _say(f"they are there ({models}); --retrain makes them anew")
        return
    log = models / "train.log"
    with log.open("w") as output:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-P", "-m", "corelane.demo.train", str(models), *([_SHORT] if short else [])]
        code = subprocess.run(command, stderr=output, env=environment, check=False).returncode
    if code != 0:
        raise DemoFailed(f"training ended with {code}; see {log}")
    done.write_text(_SHORT if short else "")


def _served_scores(client: Client, key: Key, rows: Clicks) -> np.ndarray:
    model, version = key
    return client.predict(model, inputs_of(model, rows), version=version, timeout_s=30)["score"]


def _overload_table(with_cores: Overload, without: Overload) -> str:
    lines = []
    for name, overload in (("with", with_cores), ("without", without)):
        alone_ms, beside_ms = overload.p99_ms
        lines.append(
            [
                f"{name} the scheduler",
                f"{alone_ms:.1f}",
                f"{beside_ms:.1f}",
                f"{beside_ms / alone_ms:.1f}x",
                overload.failed,
                f"{overload.trial_per_s:.0f}",
            ]
        )
    header = ["", "p99 ms alone", "beside", "ratio", "failed", f"{_name(_TRIAL)} answers/s"]
    return table(header, lines)


def _overload_sentence(with_cores: Overload, without: Overload, short: bool) -> str:
    (with_alone, with_beside), (alone, beside) = with_cores.p99_ms, without.p99_ms
    text = (
        f"With cores of its own, the slowest calls of {_name(story.STABLE)} take {with_beside / with_alone:.1f} times "
        f"as long beside {_name(_TRIAL)} as alone; without, {beside / alone:.1f} times."
    )
    return f"{text} So short, that says little." if short else text


def _measured(
    served: dict[Key, dict[str, Any]],
    traffic: Traffic,
    rows: Clicks,
    scores: dict[Key, np.ndarray],
    checks: dict[Key, Check],
) -> str:
    answers = traffic.answers()
    header = [
        "model",
        "version",
        "role",
        "engine",
        "precision",
        "calls",
        "p50 ms",
        "p99 ms",
        "AUC",
        "difference",
        "MiB",
    ]
    lines = []
    for key, version in served.items():
        times = traffic.latency_ms(key)
        p50, p99 = (f"{value:.2f}" for value in np.percentile(times, [50, 99])) if times else ("-", "-")
        lines.append(
            [
                *key,
                version["role"],
                version["engine"],
                version["precision"],
                answers[key],
                p50,
                p99,
                f"{auc(rows.labels, scores[key]):.3f}",
                f"{checks[key].difference:.0e}",
                version["memory_bytes"] >> 20,
            ]
        )
    total = sum(answers.values())
    return (
        f"{table(header, lines)}\n\n"
        f"{total} calls, {len(traffic.errors)} failed, {total / traffic.seconds:.0f} a second. Latency is the "
        "client's, with a crash and a load beside it, and\nclients and server share the cores. AUC is of the served "
        f"answers on {_CHECK_ROWS} rows never seen in training; difference\nis the largest from the engine in this "
        "process, in the same precision."
    )


def _fused(served: dict[Key, dict[str, Any]]) -> str:
    """What fusing won, as the loads found out."""
    lines = [f"{model}/{number}: {v['engine_why']}" for (model, number), v in served.items() if v["engine"] == "fused"]
    return "\n".join(["== What fusing won (`engine_why` in `corelane status --json`)", "", *lines]) if lines else ""


def _name(version: int) -> str:
    return f"ctr/{version}"


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _say(text: str) -> None:
    print("\n".join(f"   {line}".rstrip() for line in text.split("\n")), flush=True)


def _wait_for_interrupt(server: DemoServer) -> None:
    try:
        server.wait()
    except KeyboardInterrupt:
        print()
