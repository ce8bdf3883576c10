"""The demo's run: train, serve, call, check, report."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import configs
from corelane.client import Client
from corelane.commands.common import call_admin
from corelane.core_map import as_text
from corelane.demo.clicks import Clicks, auc, generate
from corelane.demo.traffic import Traffic, inputs_of
from corelane.terminal import table
from processor.engines import EngineOptions, choose_engine, load_engine
from processor.errors import ControlError, CorelaneError, RequestError
from processor.manifest import Manifest, load_manifest
from processor.tensors import DEFAULT_SIGNATURE

_START_S = 400
_CHECK_ROWS = 1000
# Served scores against the engine's own, in the same precision. A fused plan sums in another order; bf16 rounds other
# numbers in a plan than in the graph (a score moves by a few of its 2^-9 steps), int8 rows are rounded to 255 steps.
_TOLERANCES = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.02}
# AUC says whether scores in another precision still rank.
_AUC_TOLERANCE = 0.005
_SHORT = "--short"
_NEEDED = ("tensorflow", "onnxruntime", "openvino", "onnx")


class DemoFailed(CorelaneError):
    """The demo did not do what it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The largest difference of a version's served scores from its engine's own in the same precision, and what is
    wrong with them; empty if nothing is."""

    difference: float
    problem: str


def run_demo(folder: Path, seconds: float, *, retrain: bool, keep: bool, short: bool = False) -> int:
    """The exit code. DemoFailed says what went wrong, after all that was measured is printed. `short` trains on fewer
    clicks."""
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise DemoFailed(f"{', '.join(missing)} not installed: pip install 'corelane[demo]'")
    manifest_path = folder / "configs/demo.yaml"
    if not manifest_path.exists():
        manifest_path.parent.mkdir(parents=True)
        shutil.copy(configs.path("demo.yaml"), manifest_path)
    manifest = load_manifest(manifest_path)

    _refuse_another(manifest.listen.admin)
    _train(folder / "demo-models", retrain, short)
    log = folder / "demo-models/server.log"
    print(f"\nServing {manifest_path} (log: {log})", flush=True)
    with log.open("w") as output:
        server = subprocess.Popen([sys.executable, "-P", "-m", "corelane", "serve", str(manifest_path)], stderr=output)
    try:
        _wait_until_ready(server, manifest, log)
        rows = generate(_CHECK_ROWS, seed=11)
        with Client(manifest.listen.grpc) as client:
            print(f"\nMixed traffic for {seconds:g} s: 4 clients, batches of 1, 10 and 100", flush=True)
            traffic = Traffic(client, rows)
            traffic.run(seconds)
            print("\nChecking answers against the engines in this process", flush=True)
            scores = {name: _served_scores(client, *name, rows) for name in _versions(manifest)}
        served = _served_precisions(manifest)
        with _stderr_into(log):  # TensorFlow greets on it
            checks = {name: _check(manifest, *name, rows, scores[name], served[name]) for name in scores}
        show(_report(manifest, traffic, rows, scores, checks), list(checks.values()), traffic.errors)
        if keep:
            print(f"\nStill serving on {manifest.listen.grpc}; Ctrl-C ends it.", flush=True)
            _wait_for_interrupt(server)
    finally:
        code = _stop(server)
    if code != 0:
        raise DemoFailed(f"the server ended with {code}; see {log}")
    print("\nThe server drained and exited 0.")
    return 0


def show(report: str, checks: Sequence[Check], errors: Sequence[RequestError]) -> None:
    """Prints all that was measured, then each error that calls ended with. DemoFailed if there is anything wrong."""
    print(f"\n{report}")
    problems = [check.problem for check in checks if check.problem]
    if errors:
        print("\n".join(sorted({f"{type(error).__name__} {error}" for error in errors})))
        problems.append(f"{len(errors)} calls failed; the first: {errors[0]}")
    if problems:
        raise DemoFailed("; ".join(problems))


def _refuse_another(admin: str) -> None:
    """DemoFailed if a server answers there already."""
    with contextlib.suppress(ControlError):
        call_admin(admin, "/v1/status")
        raise DemoFailed(f"another server answers on {admin}; stop it first")


def _train(models: Path, retrain: bool, short: bool) -> None:
    done = models / "trained"
    # Models of a short training serve a short demo only.
    if done.exists() and not retrain and (short or done.read_text() != _SHORT):
        print(f"Models are there ({models}); --retrain makes them anew.")
        return
    print("Training six small models on generated clicks", flush=True)
    models.mkdir(parents=True, exist_ok=True)
    log = models / "train.log"
    with log.open("w") as output:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-P", "-m", "corelane.demo.train", str(models), *([_SHORT] if short else [])]
        code = subprocess.run(command, stderr=output, env=environment, check=False).returncode
    if code != 0:
        raise DemoFailed(f"training ended with {code}; see {log}")
    done.write_text(_SHORT if short else "")


def _wait_until_ready(server: subprocess.Popen, manifest: Manifest, log: Path) -> None:
    started_s = time.monotonic()
    said: set[str] = set()
    while time.monotonic() - started_s < _START_S:
        if server.poll() is not None:
            last = log.read_text().strip().splitlines()[-1:] or [f"exit code {server.returncode}"]
            raise DemoFailed(f"the server did not start: {last[0]}")
        try:
            status = call_admin(manifest.listen.admin, "/v1/status")
        except ControlError:
            time.sleep(0.1)
            continue
        if status["pid"] != server.pid:
            raise DemoFailed(f"another server answers on {manifest.listen.admin}; stop it first")
        for model in status["models"]:
            for version in model["versions"]:
                line = f"{model['name']}/{version['version']} {version['state']} {version['error']}"
                if line not in said and version["state"] in ("AVAILABLE", "FAILED"):
                    said.add(line)
                    print(f"  {time.monotonic() - started_s:5.1f} s  {line}", flush=True)
                    if version["state"] == "FAILED":
                        raise DemoFailed(f"a version failed to load: {line}")
        states = [version["state"] for model in status["models"] for version in model["versions"]]
        if status["settled"] and all(state in ("AVAILABLE", "FAILED") for state in states):
            return
        time.sleep(0.2)
    raise DemoFailed(f"the server was not ready after {_START_S} s; see {log}")


def _versions(manifest: Manifest) -> list[tuple[str, int]]:
    """What the demo checks: the versions listed, version 1 of a model that lists none."""
    return [
        (model.name, version)
        for model in manifest.models
        for version in ([entry.version for entry in model.versions.listed] or [1])
    ]


def _served_scores(client: Client, model: str, version: int, rows: Clicks) -> np.ndarray:
    return client.predict(model, inputs_of(model, rows), version=version, timeout_s=30)["score"]


def _served_precisions(manifest: Manifest) -> dict[tuple[str, int], str]:
    """The precision that the server chose for each version."""
    models = call_admin(manifest.listen.admin, "/v1/status")["models"]
    return {(model["name"], entry["version"]): entry["precision"] for model in models for entry in model["versions"]}


def _check(manifest: Manifest, model: str, version: int, rows: Clicks, scores: np.ndarray, precision: str) -> Check:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings = manifest.model(model)
    assert settings is not None
    folder = settings.path / str(version)
    own = _engine_scores(choose_engine(folder, settings.engine), folder, inputs_of(model, rows), precision)
    return judge(f"{model}/{version}", scores, own, rows.labels, precision)


def _engine_scores(engine_name: str, folder: Path, inputs: dict[str, np.ndarray], precision: str) -> np.ndarray:
    # Rows of int8 are a fused plan's alone: the engine's own scores are then in fp32.
    options = EngineOptions(precision="fp32" if precision == "int8" else precision)
    engine = load_engine(engine_name, folder, options)
    try:
        return engine.run(engine.make_session(), engine.signatures()[DEFAULT_SIGNATURE], inputs, ["score"])["score"]
    finally:
        engine.unload()


def judge(name: str, scores: np.ndarray, own: np.ndarray, labels: np.ndarray, precision: str) -> Check:
    """Whether served scores are those of the engine, as far as the precision goes."""
    if scores.shape != own.shape or not np.isfinite(scores).all():
        return Check(difference=float("inf"), problem=f"{name} answered {scores.shape} with {own.shape} expected")
    difference = float(np.abs(own - scores).max())
    problem = ""
    if difference > _TOLERANCES[precision]:
        problem = f"{name} answered {difference:.2g} away from its engine ({precision}: {_TOLERANCES[precision]:g})"
    elif abs(auc(labels, scores) - auc(labels, own)) > _AUC_TOLERANCE:
        problem = f"{name} ranks otherwise than its engine: AUC {auc(labels, scores):.4f} for {auc(labels, own):.4f}"
    return Check(difference=difference, problem=problem)


@contextlib.contextmanager
def _stderr_into(log: Path) -> Iterator[None]:
    """Sends what native code writes to standard error to the end of a file."""
    saved = os.dup(2)
    with log.open("a") as target:
        os.dup2(target.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _report(
    manifest: Manifest,
    traffic: Traffic,
    rows: Clicks,
    scores: dict[tuple[str, int], np.ndarray],
    checks: dict[tuple[str, int], Check],
) -> str:
    status = call_admin(manifest.listen.admin, "/v1/status")
    header = [
        "model",
        "version",
        "role",
        "engine",
        "precision",
        "calls",
        "share",
        "p50 ms",
        "p99 ms",
        "AUC",
        "difference",
    ]
    header += ["MiB"]
    lines = []
    for model in status["models"]:
        calls_of_model = sum(len(times) for (name, _), times in traffic.latency_ms.items() if name == model["name"])
        for version in model["versions"]:
            key = (model["name"], version["version"])
            times = traffic.latency_ms.get(key, [])
            p50, p99 = np.percentile(times, [50, 99]) if times else (float("nan"), float("nan"))
            lines.append(
                [
                    *key,
                    version["role"],
                    version["engine"],
                    version["precision"],
                    len(times),
                    f"{100 * len(times) / max(1, calls_of_model):.0f}%",
                    f"{p50:.2f}",
                    f"{p99:.2f}",
                    f"{auc(rows.labels, scores[key]):.3f}",
                    f"{checks[key].difference:.0e}",
                    version["memory_bytes"] >> 20,
                ]
            )
    total = sum(len(times) for times in traffic.latency_ms.values())
    summary = (
        f"{total} calls, {len(traffic.errors)} failed, {total / traffic.seconds:.0f} a second, "
        f"{len(status['gateways'])} gateways.\n"
        "Latency is the client's, and the 4 clients share the cores with the server. AUC is of the served answers on "
        f"{_CHECK_ROWS} rows\n"
        "never seen in training; difference is the largest from the engine in this process, in the same precision."
    )
    cores = as_text(call_admin(manifest.listen.admin, "/v1/report"))
    return f"{table(header, lines)}\n\n{summary}\n\nWho has which cores, and why (`corelane report`):\n\n{cores}"


def _wait_for_interrupt(server: subprocess.Popen) -> None:
    try:
        server.wait()
    except KeyboardInterrupt:
        print()


def _stop(server: subprocess.Popen[Any]) -> int:
    server.send_signal(signal.SIGTERM)
    try:
        return server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()
