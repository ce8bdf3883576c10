"""Metrics as a real Prometheus parser reads them, against what was sent."""

import dataclasses
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from corelane.processor._native import SharedChannel
from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.errors import InvalidRequest, ModelNotFound
from corelane.processor.supervisor.lifecycle import Phase
from corelane.processor.supervisor.views import exposition, meters
from corelane.processor.supervisor.views.meters import Process, Snapshot, Totals
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    # Gateways and precision are named, because their defaults hang on the machine.
    models = (
        "host: {gateways: 2}\n"
        f"models: [{{name: tf2, path: {tensorflow_models / 'tf2'}, precision: fp32, slo_p99_ms: 50}}, "
        "{name: scale, path: scale, versions: [{version: 1, traffic: 50}, {version: 2, role: ab, traffic: 50}]}]"
    )
    with serving(folder, models, listen=WITH_REST) as running:
        running.wait_state("scale", 2, "AVAILABLE")
        running.wait_state("scale", 1, "AVAILABLE")
        yield running


def scraped(server: Server, path: str = "/metrics", port: str = "admin") -> Samples:
    found = ask(getattr(server, port), "GET", path)
    assert found.status == 200
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: Samples = {}
    for family in text_string_to_metric_families(found.body.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} stands twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: Any) -> float:
    return samples.get((name, frozenset((key, str(one)) for key, one in labels.items())), 0.0)


def test_all_places_say_the_same(server: Server) -> None:
    names = {
        frozenset(name for name, _ in scraped(server, path, port))
        for path, port in (
            ("/metrics", "admin"),
            ("/monitoring/prometheus/metrics", "admin"),
            ("/monitoring/prometheus/metrics", "http"),
        )
    }
    assert len(names) == 1


def test_requests_are_counted_by_what_became_of_them(server: Server) -> None:
    before = scraped(server)
    inputs = {"word": [b"a", b"b"], "x": np.ones((2, 2), np.float32)}
    with Client(server.grpc) as client:
        for _ in range(5):
            client.predict("tf2", inputs)
        for _ in range(2):
            client.predict("tf2", {"x": 2.0}, signature="scalar")
        with pytest.raises(InvalidRequest):
            client.predict("tf2", {"word": [b"a"]})
        with pytest.raises(ModelNotFound):
            client.predict("tf2", inputs, version=9)
        with pytest.raises(ModelNotFound):
            client.predict("made up", inputs)
    body = {"instances": [{"word": "a", "x": [1, 1]}]}
    assert ask(server.http, "POST", "/v1/models/tf2:predict", body).status == 200
    who = {"model": "tf2", "version": 1}

    def grown(name: str, **labels: Any) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    def heard() -> bool:
        nonlocal after
        after = scraped(server)
        return grown("corelane_unrouted_requests_total", model="", code="NOT_FOUND") == 1

    after = before
    wait_until(heard, "what the gateways counted")
    predict = {**who, "api": "Predict", "entrypoint": "grpc"}
    assert grown("corelane_requests_total", **predict, code="OK") == 7
    assert grown("corelane_requests_total", **predict, code="INVALID_ARGUMENT") == 1
    assert grown("corelane_requests_total", **{**predict, "entrypoint": "rest"}, code="OK") == 1
    assert grown("corelane_request_seconds_count", **predict) == 7
    assert grown("corelane_signature_requests_total", **who, signature="scalar", result="answered") == 2
    assert grown("corelane_signature_requests_total", **who, signature="serving_default", result="answered") == 6
    assert grown("corelane_signature_requests_total", **who, signature="serving_default", result="failed") == 1
    assert grown("corelane_signature_run_seconds_count", **who, signature="scalar") == 2
    assert grown("corelane_unrouted_requests_total", model="tf2", code="NOT_FOUND") == 1
    tensorflow = ":tensorflow:serving:request_"
    assert grown(tensorflow + "count", model_name="tf2", status="OK") >= 8
    assert grown(tensorflow + "count", model_name="tf2", status="INVALID_ARGUMENT") == 1
    assert grown(tensorflow + "count", model_name="tf2", status="NOT_FOUND") == 1
    labels = {"model_name": "tf2", "API": "Predict", "entrypoint": "GRPC"}
    assert grown(tensorflow + "latency_count", **labels) == 7
    assert grown(tensorflow + "latency_bucket", **labels, le="+Inf") == 7
    mean_us = grown(tensorflow + "latency_sum", **labels) / 7
    mean_s = grown("corelane_request_seconds_sum", **predict) / 7
    assert mean_us == pytest.approx(mean_s * 1e6)
    assert 10 < mean_us < 1e6


def test_assignments_are_counted_by_arm(server: Server) -> None:
    before = scraped(server)
    with Client(server.grpc) as client:
        versions = [client.predict_versioned("scale", {"x": [1.0]})[1] for _ in range(60)]
        for _ in range(3):
            client.predict("scale", {"x": [1.0]}, version=1)
    after = scraped(server)

    def grown(version: int, assignment: str) -> float:
        labels = {"model": "scale", "version": version, "assignment": assignment}
        return value(after, "corelane_assignments_total", **labels) - value(
            before, "corelane_assignments_total", **labels
        )

    assert [grown(version, "split") for version in (1, 2)] == [versions.count(1), versions.count(2)]
    assert [grown(version, "named") for version in (1, 2)] == [3, 0]


def test_what_serves(server: Server) -> None:
    found = scraped(server)
    for version in (1, 2):
        who = {"model": "scale", "version": version}
        assert value(found, "corelane_memory_bytes", **who) > 1e6
        assert value(found, "corelane_sessions", **who) >= 1
        assert value(found, "corelane_queue_capacity", **who) == 256
        assert value(found, "corelane_version_state", **who, state="AVAILABLE") == 1
    info = {"model": "tf2", "version": 1, "role": "baseline", "engine": "tensorflow", "precision": "fp32"}
    assert value(found, "corelane_version_info", **info) == 1
    assert value(found, "corelane_slo_p99_seconds", model="tf2", version=1) == 0.05
    assert value(found, "corelane_ready") == 1
    assert value(found, "corelane_gateways", protocol="grpc") == 2
    assert value(found, "corelane_gateways", protocol="http") == 2
    assert value(found, "corelane_plan_changes_total") >= 1
    assert value(found, "process_resident_memory_bytes") > 1e7
    loads = {dict(labels)["model_path"]: one for (name, labels), one in found.items() if name.endswith(":load_latency")}
    assert [Path(path).name for path in sorted(loads)] == ["1", "2", "1"]
    assert all(1e3 < one < 1e9 for one in loads.values())


def test_a_models_counts_outlive_its_workers(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 1)
    with serving(tmp_path, "models: [{name: scale, path: scale}]") as server:

        def count() -> float:
            return value(scraped(server), ":tensorflow:serving:request_count", model_name="scale", status="OK")

        with Client(server.grpc) as client:
            for _ in range(4):
                client.predict("scale", {"x": [1.0]})
            assert count() == 4
            onnx_models.write_scale(tmp_path / "scale/2", 2)
            server.wait_state("scale", 1, "RETIRED")
            client.predict("scale", {"x": [1.0]})
        assert count() == 5
        found = scraped(server)
        assert not [labels for name, labels in found if name == "corelane_sessions" and ("version", "1") in labels]


def test_gateways_that_are_not_up_are_told_apart() -> None:
    gateways = [Process(protocol="grpc", ready=False, cpu_s=1.0, memory_bytes=None) for _ in range(3)]
    empty = {field.name: {} for field in dataclasses.fields(Snapshot)}
    zeros = dict.fromkeys(("reserve_cpus", "pool_cpus", "pool_taken", "plan_changes", "plan_problems", "uptime_s"), 0)
    snapshot = Snapshot(**{**empty, **zeros, "gateways": gateways, "totals": Totals(), "ready": False})
    samples = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(exposition.text(snapshot).decode())
        for sample in family.samples
    ]
    assert len(samples) == len(set(samples))
    assert ("corelane_gateways", (("protocol", "grpc"),)) in samples


def test_buckets_are_cumulative_and_none_counts_too_early() -> None:
    counts = [0] * (len(BOUNDS_US) + 1)
    counts[0], counts[50], counts[-1] = 3, 5, 7
    buckets = exposition._cumulative(counts, exposition._TENSORFLOW_BOUNDS_US, 1)
    values = [count for _, count in buckets]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (3, 15)
    assert buckets[-1][0] == "+Inf"
    first = next(float(bound) for bound, count in buckets if count == 8)
    assert BOUNDS_US[50] <= first < BOUNDS_US[50] * 1.8
    assert len(buckets) == 34


def test_the_dashboard_asks_for_metrics_that_are_there(server: Server) -> None:
    dashboard = json.loads((Path(__file__).parents[3] / "configs/grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bcorelane_\w+", target["expr"])
    }
    families = text_string_to_metric_families(ask(server.admin, "GET", "/metrics").body.decode())
    # Of a counter or histogram that has no sample yet there is a family all the same.
    served = {family.name for family in families}
    suffixes = ("", "_total", "_bucket")
    assert not [name for name in asked if not any(name.removesuffix(suffix) in served for suffix in suffixes)]
    assert len(asked) > 20


def assert_none_fell(before: Samples, after: Samples) -> None:
    for (name, labels), number in before.items():
        if re.search(r"(_total|_count|_sum|_bucket)$", name):
            assert after.get((name, labels), -1) >= number, (name, dict(labels))


def test_counters_go_on_over_a_crash(tmp_path: Path) -> None:
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"a/{version}", version)
    models = "models: [{name: a, path: a, versions: [{version: 1, traffic: 50}, {version: 2, traffic: 50}]}]"
    with serving(tmp_path, models, listen=WITH_REST) as server, Client(server.grpc) as client:
        for version in (1, 2):
            server.wait_state("a", version, "AVAILABLE")
        for _ in range(20):
            client.predict("a", {"x": [1.0]}, timeout_s=20)
        with pytest.raises(InvalidRequest):
            client.predict("a", {"z": [1.0]}, version=1, timeout_s=20)
        before, shares = scraped(server), _shares(server)
        assert sum(shares.values()) == 20
        pid = server.version("a", 1)["pid"]
        gateways = {gateway["pid"] for gateway in server.status()["gateways"]}
        for victim in (pid, min(gateways)):
            os.kill(victim, signal.SIGKILL)

        def replaced() -> bool:
            assert_none_fell(before, scraped(server))  # nor are any gone while there is no worker
            found = {gateway["pid"] for gateway in server.status()["gateways"] if gateway["ready"]}
            return server.version("a", 1).get("pid") not in (None, pid) and len(found - gateways) == 1

        wait_until(replaced, "the next worker and the next gateway")
        server.wait_state("a", 1, "AVAILABLE")
        assert _shares(server) == shares
        client.predict("a", {"x": [1.0]}, version=1, timeout_s=20)
        for wait_s in (0.0, 6.0):  # before and after the dead worker's counts are added up
            end_s = time.monotonic() + wait_s
            wait_until(lambda end_s=end_s: time.monotonic() >= end_s, "the counts to settle")
            after = scraped(server)
            assert_none_fell(before, after)
            calls = {"model": "a", "version": 1, "api": "Predict", "entrypoint": "grpc"}
            assert value(after, "corelane_requests_total", **calls, code="OK") == shares[1] + 1
            assert value(after, "corelane_requests_total", **calls, code="INVALID_ARGUMENT") == 1
            assert value(after, "corelane_worker_crashes_total", model="a", version=1) == 1
            assert server.version("a", 1)["requests"]["accepted"] == shares[1] + 2


def _shares(server: Server) -> dict[int, int]:
    return {version: server.version("a", version)["assigned"]["split"] for version in (1, 2)}


def ended_worker(model: str, version: int, folder: str) -> Any:
    """A worker of the supervisor's whose process is no more."""
    channel = SharedChannel.create(instance=1, slots=2, message_bytes_max=1 << 10, queue_timeout_ns=0)
    spec = SimpleNamespace(model=model, version=version, folder=folder, batch_rows_max=0)
    return SimpleNamespace(
        instance=SimpleNamespace(spec=spec, phase=Phase.AVAILABLE), channel=channel, engine="e", load_s=1.0, cpu_s=0.0
    )


def test_what_is_kept_of_the_past_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "_LATE_COUNTS_S", -1.0)
    kept = meters.Meters()
    for model in ("served", *(f"gone{number}" for number in range(50))):
        for version in range(1, 41):
            worker = ended_worker(model, version, f"/{model}/{version}")
            kept.loaded(worker, 0.5)
            kept.heard(
                [
                    Count(kind=CountKind.SHADOW, model=model, version=version, outcome="same", number=1),
                    Count(kind=CountKind.DIFFERENCE, model=model, version=version, outcome="-3", number=1),
                    Count(kind=CountKind.REFUSED, model=model, code=5, number=1),
                    Count(kind=CountKind.LOG, model=model, outcome="written", number=1),
                    Count(kind=CountKind.FAILED_NS, model=model, version=version, number=7),
                    Count(kind=CountKind.LAST_MS, model=model, version=version, number=version),
                    Count(kind=CountKind.LAST_MS, model=model, version=version, number=0),
                ]
            )
            assert [kept.never_falling((model, version), "runs", figure) for figure in (3, 2)] == [3, 3]
            kept.ended(worker, failed=True)
            kept.forget({("served", 1)}, {"served"})
    totals = kept.totals([])
    versions = {("served", 1), *(("served", version) for version in range(25, 41))}
    versions |= {(f"gone{number}", version) for number in range(34, 50) for version in range(25, 41)}
    names = {model for model, _ in versions}
    assert kept.restarts.keys() == kept.failed_ns.keys() == kept.last_ms.keys() == versions
    assert {key[:2] for key in kept._highest} == versions
    assert kept.last_ms["served", 40] == 40, "what another gateway says later may be older"
    assert {key[:2] for key in kept.shadows} == {key[:2] for key in kept.differences} == versions
    assert totals.warm_ups.keys() == totals.load_us.keys() == {f"/{model}/{version}" for model, version in versions}
    assert {model for model, _ in kept.refused} == {model for model, _ in kept.logged} == names
    assert {model for model, _ in totals.run} == names
    assert kept.logged["served", "written"] == 40, "a model's counts are over all its versions"
    assert totals.warm_ups["/served/40"][1] == 500_000_000
