"""Whether the server is ready, said the same everywhere; and calls whose arm is not there."""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from corelane.commands.status import render
from corelane.processor.control.routes import ModelRoute, VersionRoute
from corelane.processor.errors import ModelNotFound, RequestError, Unavailable
from corelane.processor.manifest import ModelSettings, parse_manifest
from corelane.processor.supervisor.lifecycle import Standing, State, VersionReport, WantedModel
from corelane.processor.supervisor.views import readiness
from corelane.processor.supervisor.views.readiness import Unready
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, wait_until

PARTIAL = "rest.onnx.part"


def says_ready(server: Server) -> set[bool]:
    """What each place says."""
    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        kserve = messages.ServerReadyResponse.FromString(call(b"", timeout=20)).ready
    return {
        health.status == health_pb2.HealthCheckResponse.SERVING,
        kserve,
        ask(server.http, "GET", "/v2/health/ready").status == 200,
        ask(server.admin, "GET", "/v1/ready").status == 200,
        bool(server.status()["ready"]),
        b"\ncorelane_ready 1.0\n" in ask(server.admin, "GET", "/metrics").body,
    }


def test_not_ready_while_a_model_is_copied_and_for_good_where_its_path_is_wrong(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "good/1", 2)
    onnx_models.write_scale(tmp_path / "late/1", 3)
    (tmp_path / "late/1" / PARTIAL).write_bytes(b"")
    models = "models: [{name: good, path: good}, {name: late, path: late}, {name: wrong, path: wrong}]"
    with serving(tmp_path, models, ready=False, listen=WITH_REST) as server:
        server.wait_state("good", 1, "AVAILABLE")
        wait_until(lambda: server.version("late", 1), "the look at the folder")
        assert says_ready(server) == {False}
        assert ask(server.admin, "GET", "/v1/ready/good").status == 200
        answer = ask(server.admin, "GET", "/v1/ready")
        assert answer.json["not_ready"] == {
            "late": f"version 1: {PARTIAL} is a partial copy",
            "wrong": f"{tmp_path}/wrong does not exist",
        }
        for path, problem in (
            ("/v2/health/ready", f"model late: version 1: {PARTIAL} is a partial copy; model wrong: {tmp_path}/wrong"),
            ("/v2/models/late/ready", f"model late is still loading: {PARTIAL} is a partial copy"),
            (
                "/v2/models/wrong/ready",
                f"Servable not found for request: Latest(wrong) ({tmp_path}/wrong does not exist)",
            ),
        ):
            answer = ask(server.http, "GET", path)
            assert (answer.status, problem in answer.json["error"]) == (400, True), answer.json
        listed = {one["name"]: one["problem"] for one in ask(server.http, "GET", "/v1/models").json["models"]}
        assert listed == {"good": "", "late": "", "wrong": f"{tmp_path}/wrong does not exist"}
        (tmp_path / "late/1" / PARTIAL).unlink()
        server.wait_state("late", 1, "AVAILABLE")
        said = f"not ready (host.ready: all): model wrong: {tmp_path}/wrong does not exist"
        wait_until(lambda: said in server.log.read_text(), "why it is not ready")
        assert says_ready(server) == {False}
        assert "not ready" in render(server.status()).splitlines()[0]
        lines = render(server.status()).splitlines()
        assert lines[-2:] == [f"wrong: {tmp_path}/wrong does not exist", "not ready: wrong"]
        onnx_models.write_scale(tmp_path / "wrong/1", 4)
        wait_until(lambda: says_ready(server) == {True}, "ready everywhere")
        assert "3 models, 3 versions available" in server.log.read_text()
        # What comes later takes nothing back, nor does what goes.
        onnx_models.write_scale(tmp_path / "late/2", 5)
        (tmp_path / "late/2" / PARTIAL).write_bytes(b"")
        wait_until(lambda: server.version("late", 2), "the look at the folder")
        server.apply(server.manifest.read_text().replace("models: [", "models: [{name: new, path: nowhere}, "))
        assert ask(server.admin, "GET", "/v1/ready/new").status == 503
        assert says_ready(server) == {True}


def test_any(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "good/1", 2)
    onnx_models.write_scale(tmp_path / "late/1", 3)
    (tmp_path / "late/1" / PARTIAL).write_bytes(b"")
    models = (
        "host: {ready: any}\nmodels: [{name: good, path: good}, {name: late, path: late}, {name: wrong, path: wrong}]"
    )
    with serving(tmp_path, models, ready=False, listen=WITH_REST) as server:
        server.wait_state("good", 1, "AVAILABLE")
        wait_until(lambda: server.version("late", 1), "the look at the folder")
        assert says_ready(server) == {False}, "something is on its way"
        shutil.rmtree(tmp_path / "late/1")
        wait_until(lambda: says_ready(server) == {True}, "ready everywhere")


def test_a_server_that_stops_is_not_ready(tmp_path: Path) -> None:
    onnx_models.write_slow(tmp_path / "slow/1")
    with serving(tmp_path, "models: [{name: slow, path: slow}]", listen=WITH_REST) as server:
        with grpc.insecure_channel(server.grpc) as channel:
            request = messages.PredictRequest()
            request.model_spec.name = "slow"
            request.inputs["n"].dtype = 9
            request.inputs["n"].int64_val.append(3_000_000)
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            under_way = call.future(request.SerializeToString(), timeout=60)
            wait_until(lambda: server.version("slow", 1)["requests"]["running"] == 1, "the run")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: ask(server.admin, "GET", "/v1/ready").status == 503, "not ready")
            assert under_way.result()
        assert server.process.wait(60) == 0


def test_the_reason_names_a_few_models() -> None:
    missing = {f"m{number}": Unready(reason="none", is_coming=False) for number in range(12)}
    said = readiness.sentence(missing)
    assert said.startswith("model m0: none; model m1: none; ") and said.endswith("; model m9: none; and 2 more models")
    assert readiness.sentence({}) == "the server is being started"


@pytest.mark.parametrize(
    ("policy", "missing", "ready"),
    [
        ("all", {}, True),
        ("all", {"a": Unready(reason="", is_coming=False)}, False),
        ("any", {"a": Unready(reason="", is_coming=False)}, True),
        ("any", {"a": Unready(reason="", is_coming=True)}, False),
        ("any", {name: Unready(reason="", is_coming=False) for name in "ab"}, False),
    ],
)
def test_policies(policy: str, missing: dict[str, Unready], ready: bool) -> None:
    assert readiness.is_ready(policy, [WantedModel(name="a"), WantedModel(name="b")], missing) is ready
    assert readiness.is_ready(policy, [], {}), "a server without models has all of them"


def settings_of(missing_arm: str = "") -> ModelSettings:
    text = (
        f"models: [{{name: m, path: p{missing_arm}, versions: [{{version: 1, label: stable, traffic: 95}}, "
        "{version: 2, label: canary, traffic: 5}, {version: 3, shadow: 10}]}]"
    )
    return parse_manifest(text, source="m.yaml", base=Path("/base")).models[0]


def test_missing_arms_are_told() -> None:
    reports = [
        VersionReport(version=1, state=State.END, standing=Standing.FAILED, error="no room"),
        VersionReport(version=2, state=State.AVAILABLE, standing=Standing.AVAILABLE),
    ]
    (default,) = readiness.missing_arms(settings_of(), reports, [2])
    fate = "its 95 % of the calls go to the others and calls of label stable are refused"
    assert default == f"version 1 is FAILED, and {fate} (missing_arm): no room"
    (fails,) = readiness.missing_arms(settings_of(", missing_arm: fail"), reports, [2])
    assert "its 95 % of the calls are refused and calls of label stable are refused" in fails
    (others,) = readiness.missing_arms(settings_of(", missing_arm: others"), reports, [2])
    assert "its 95 % of the calls go to the others and calls of label stable go to the others" in others
    assert readiness.missing_arms(settings_of(), [], []) == [], "the whole model is missing: that is told elsewhere"
    assert readiness.missing_arms(settings_of(), reports, [1, 2]) == []
    restarting = [
        VersionReport(version=1, state=State.START, standing=Standing.RESTARTING, error="killed", restarting=True)
    ]
    assert readiness.missing_arms(settings_of(), restarting, [2]) == []


def route_of(missing_arm: str | None, **first: Any) -> ModelRoute:
    versions = (
        VersionRoute(version=1, state="END", error="no room", traffic=95, **first),
        VersionRoute(version=2, state="AVAILABLE", traffic=5, instance=7),
        VersionRoute(version=3, state="AVAILABLE", shadow=10, instance=8),
    )
    return ModelRoute(name="m", versions=versions, labels=(("stable", 1), ("canary", 2)), missing_arm=missing_arm)


def outcomes(route: ModelRoute, **request: Any) -> Counter[Any]:
    """By version, or by error, for draws that lie evenly."""
    found: Counter[Any] = Counter()
    for number in range(100):
        try:
            arguments = {"version": None, "label": None, "key": None, **request}
            found[route.find(**arguments, draw=lambda number=number: number / 100)[0].version] += 1
        except RequestError as error:
            found[type(error)] += 1
    return found


@pytest.mark.parametrize(
    ("missing_arm", "split", "label"),
    [
        (None, {2: 100}, {ModelNotFound: 100}),
        ("others", {2: 100}, {2: 100}),
        ("fail", {Unavailable: 95, 2: 5}, {ModelNotFound: 100}),
    ],
)
def test_calls_of_a_missing_arm(missing_arm: str | None, split: Any, label: Any) -> None:
    route = route_of(missing_arm)
    assert outcomes(route) == split
    assert outcomes(route, label="stable") == label
    assert outcomes(route, label="canary") == {2: 100}
    assert outcomes(route, version=1) == {ModelNotFound: 100}, "whoever names a version means it"
    restored = route_of(missing_arm, instance=9)
    assert outcomes(restored) == {1: 95, 2: 5}
    assert outcomes(restored, label="stable") == {1: 100}


def test_keys_stay_with_their_arm() -> None:
    """With `fail`, a key whose arm is there gets it, whether others are there or not."""
    whole, broken = route_of("fail", instance=9), route_of("fail")
    for number in range(200):
        version = whole.find(None, None, f"user{number}")[0].version
        if version == 2:
            assert broken.find(None, None, f"user{number}")[0].version == 2
        else:
            with pytest.raises(
                Unavailable, match="version 1 of model m, with 95 % of its calls, is not available: no room"
            ):
                broken.find(None, None, f"user{number}")


def test_a_broken_arm_is_a_problem_of_status(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "m/2", 2)
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/1/model.onnx").write_bytes(b"no model")
    models = (
        "models: [{name: m, path: m, missing_arm: fail, versions: [{version: 1, label: stable, traffic: 95}, "
        "{version: 2, label: canary, traffic: 5}]}]"
    )
    with serving(tmp_path, models) as server, server.client() as client:
        server.wait_state("m", 2, "AVAILABLE")
        told = "version 1 is FAILED, and its 95 % of the calls are refused and calls of label stable are refused"
        wait_until(lambda: told in server.log.read_text(), "the warning")
        assert told in render(server.status())
        seen: Counter[Any] = Counter()
        for _ in range(60):
            try:
                seen[float(client.predict("m", {"x": np.ones(1, np.float32)}, timeout_s=20)["y"][0])] += 1
            except Unavailable as error:
                assert "with 95 % of its calls, is not available" in str(error)
                seen[Unavailable] += 1
        assert seen.keys() <= {2.0, Unavailable} and seen[Unavailable] > 30
        (tmp_path / "m/1/model.onnx").unlink()
        (tmp_path / "m/1").rmdir()
        onnx_models.write_scale(tmp_path / "m/1", 1)
        server.wait_state("m", 1, "AVAILABLE")
        wait_until(lambda: "is available again" in server.log.read_text(), "the end of it")
        assert client.predict("m", {"x": [3.0]}, label="stable", timeout_s=20)["y"] == [3.0]
        assert server.log.read_text().count(told) == 1


@pytest.mark.parametrize(("policy", "one", "both"), [("all", False, False), ("any", True, False)])
def test_models_that_fall_silent(policy: str, one: bool, both: bool) -> None:
    """Not for the moment of a restart; and a model that never answered takes nothing back."""
    silences = readiness.Silences(grace_s=15)
    silences.look(["a", "b", "new"], ["a", "b"], 0)
    assert silences.allow(policy, 100)
    silences.look(["a", "b", "new"], ["b"], 100)
    assert silences.allow(policy, 114)
    assert silences.allow(policy, 115) is one
    silences.look(["a", "b", "new"], [], 116)
    assert silences.allow(policy, 131) is both
    silences.look(["a", "b", "new"], ["a", "b"], 132)
    assert silences.allow(policy, 132)
    silences.look(["a", "new"], ["a"], 200)
    silences.look(["new"], [], 201)
    assert silences.allow(policy, 300), "a model that nobody wants any more is missed by nobody"


def test_not_ready_once_a_model_that_answered_cannot(tmp_path: Path) -> None:
    for name in ("a", "b"):
        onnx_models.write_scale(tmp_path / f"{name}/1", 1)
    with serving(tmp_path, "models: [{name: a, path: a}, {name: b, path: b}]", listen=WITH_REST) as server:
        wait_until(lambda: says_ready(server) == {True}, "ready everywhere")
        (tmp_path / "a/1/model.onnx").write_bytes(b"junk")
        wait_until(lambda: server.version("a", 1)["error"], "the look at the file")
        os.kill(server.version("a", 1)["pid"], signal.SIGKILL)
        server.wait_state("a", 1, "FAILED")
        wait_until(lambda: says_ready(server) == {False}, "not ready anywhere")
        (tmp_path / "a/1/model.onnx").write_bytes((tmp_path / "b/1/model.onnx").read_bytes())
        wait_until(lambda: says_ready(server) == {True}, "ready again")
