"""The demo's run: train, serve, call, check, report."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import configs
from corelane.client import Client
from corelane.commands.common import call_admin, table
from corelane.core_map import as_text
from corelane.demo.clicks import Clicks, auc, generate
from corelane.demo.traffic import Traffic, inputs_of
from processor.engines import EngineOptions, choose_engine, load_engine
from processor.errors import ControlError, CorelaneError
from processor.manifest import Manifest, load_manifest
from processor.tensors import DEFAULT_SIGNATURE

_START_S = 180
_CHECK_ROWS = 1000
_TOLERANCE = 1e-5
_NEEDED = ("tensorflow", "onnxruntime", "openvino", "onnx")


class DemoFailed(CorelaneError):
    """The demo did not do what it shows."""


def run_demo(folder: Path, seconds: float, *, retrain: bool, keep: bool) -> int:
    """The exit code. DemoFailed says what went wrong."""
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise DemoFailed(f"{', '.join(missing)} not installed: pip install 'corelane[demo]'")
    manifest_path = folder / "configs/demo.yaml"
    if not manifest_path.exists():
        manifest_path.parent.mkdir(parents=True)
        shutil.copy(configs.path("demo.yaml"), manifest_path)
    manifest = load_manifest(manifest_path)

    _train(folder / "demo-models", retrain)
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
        with _stderr_into(log):  # TensorFlow greets on it
            worst = _check(manifest, rows, scores, _precisions(manifest))
        print()
        print(_report(manifest, traffic, rows, scores, worst))
        if traffic.errors:
            print("\n".join(sorted({f"{type(e).__name__} {e}" for e in traffic.errors})))
            raise DemoFailed(f"{len(traffic.errors)} calls failed; the first: {traffic.errors[0]}")
        if keep:
            print(f"\nStill serving on {manifest.listen.grpc}; Ctrl-C ends it.", flush=True)
            _wait_for_interrupt(server)
    finally:
        code = _stop(server)
    if code != 0:
        raise DemoFailed(f"the server ended with {code}; see {log}")
    print("\nThe server drained and exited 0.")
    return 0


def _train(models: Path, retrain: bool) -> None:
    done = models / "trained"
    if done.exists() and not retrain:
        print(f"Models are there ({models}); --retrain makes them anew.")
        return
    print("Training six small models on generated clicks", flush=True)
    models.mkdir(parents=True, exist_ok=True)
    log = models / "train.log"
    with log.open("w") as output:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-P", "-m", "corelane.demo.train", str(models)]
        code = subprocess.run(command, stderr=output, env=environment, check=False).returncode
    if code != 0:
        raise DemoFailed(f"training ended with {code}; see {log}")
    done.touch()


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
                if line not in said and version["state"] in ("AVAILABLE", "END"):
                    said.add(line)
                    print(f"  {time.monotonic() - started_s:5.1f} s  {line}", flush=True)
        states = [version["state"] for model in status["models"] for version in model["versions"]]
        if status["ready"] and all(state in ("AVAILABLE", "END") for state in states):
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


def _precisions(manifest: Manifest) -> dict[tuple[str, int], str]:
    """What the server chose for each version, fp32 or bf16."""
    models = call_admin(manifest.listen.admin, "/v1/status")["models"]
    return {(model["name"], entry["version"]): entry["precision"] for model in models for entry in model["versions"]}


def _check(
    manifest: Manifest,
    rows: Clicks,
    scores: dict[tuple[str, int], np.ndarray],
    precisions: dict[tuple[str, int], str],
) -> dict[tuple[str, int], float]:
    """The largest difference of each version's served scores from its engine's own in the same precision; DemoFailed
    beyond rounding."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    worst: dict[tuple[str, int], float] = {}
    for (model, version), served in scores.items():
        settings = manifest.model(model)
        assert settings is not None
        version_folder = settings.path / str(version)
        options = EngineOptions(precision=precisions[model, version])
        engine = load_engine(choose_engine(version_folder, settings.engine), version_folder, options)
        signature = engine.signatures()[DEFAULT_SIGNATURE]
        own = engine.run(engine.make_session(), signature, inputs_of(model, rows), ["score"])["score"]
        engine.unload()
        worst[model, version] = float(np.abs(own - served).max())
        if worst[model, version] > _TOLERANCE:
            raise DemoFailed(f"{model}/{version} answered {worst[model, version]:.2g} away from its engine")
    return worst


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
    worst: dict[tuple[str, int], float],
) -> str:
    status = call_admin(manifest.listen.admin, "/v1/status")
    header = ["model", "version", "role", "engine", "calls", "share", "p50 ms", "p99 ms", "AUC", "difference"]
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
                    len(times),
                    f"{100 * len(times) / max(1, calls_of_model):.0f}%",
                    f"{p50:.2f}",
                    f"{p99:.2f}",
                    f"{auc(rows.labels, scores[key]):.3f}",
                    f"{worst[key]:.0e}",
                    version["memory_bytes"] >> 20,
                ]
            )
    total = sum(len(times) for times in traffic.latency_ms.values())
    summary = (
        f"{total} calls, {len(traffic.errors)} failed, {total / traffic.seconds:.0f} a second, "
        f"{len(status['gateways'])} gateways.\n"
        "Latency is the client's, and the 4 clients share the cores with the server. AUC is of the served answers on "
        f"{_CHECK_ROWS} rows\nnever seen in training; difference is the largest from the engine run in this process."
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
