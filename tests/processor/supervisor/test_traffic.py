"""Who gets a model's calls: splits, sticky keys, shadows, promote and roll back, and what is counted of them."""

import dataclasses
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from corelane.processor.channel.gateway_end import Cancellation
from corelane.processor.channel.methods import Assignment, Method
from corelane.processor.control.gateway_messages import Count, CountKind
from corelane.processor.control.routes import VersionRoute
from corelane.processor.errors import ControlError, Unavailable
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.shadows import Shadows, largest_difference
from corelane.processor.manifest import load_manifest, parse_manifest
from corelane.processor.manifest.text.writer import Turn, write_versions
from corelane.processor.manifest.traffic import promoted, split
from corelane.processor.wire import kserve_tensors, messages, tensors
from corelane.scheduler.numbers import percent
from tests.processor.supervisor.test_metrics import scraped, value
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import LISTEN, WITH_REST, Server, serving, wait_until

MANIFEST = """\
# who is who
models:
  - name: m        # the model
    path: m
    versions:
      - {version: 1, role: baseline, label: stable, traffic: 95}   # since May
      - {version: 2, role: ab, label: canary, traffic: 5}
      - {version: 3, role: ab, shadow: 10}
"""


def settings_of(text: str = MANIFEST) -> Any:
    return parse_manifest(text, source="m.yaml", base=Path()).models[0]


def plain(model: Any) -> list[tuple]:
    return [(one.version, one.role, one.label, one.traffic, one.shadow) for one in model.versions.listed]


def test_promote_swaps_with_the_version_that_had_the_most() -> None:
    model = promoted(settings_of(), 2)
    assert plain(model) == [
        (1, "ab", "canary", 0, None),
        (2, "baseline", "stable", 100, None),
        (3, "ab", None, None, 10),
    ]
    assert dict(model.labels) == {"canary": 1, "stable": 2}
    assert plain(promoted(settings_of(), 3)) == [
        (1, "ab", None, 0, None),
        (2, "ab", "canary", 0, None),
        (3, "baseline", "stable", 100, None),
    ]


def test_promote_of_the_version_that_leads_takes_the_others_back() -> None:
    """As one aborts a canary: role and labels stay where they are."""
    stays = [(1, "baseline", "stable", 100, None), (2, "ab", "canary", 0, None), (3, "ab", None, None, 10)]
    assert plain(promoted(settings_of(), 1)) == stays
    even = MANIFEST.replace("traffic: 95", "traffic: 50").replace("traffic: 5}", "traffic: 50}")
    assert plain(promoted(settings_of(even), 1)) == stays
    assert plain(promoted(settings_of(even), 2))[1] == (2, "baseline", "stable", 100, None)
    most = MANIFEST.replace("traffic: 95", "traffic: 40").replace("traffic: 5}", "traffic: 60}")
    assert plain(promoted(settings_of(most), 2)) == [
        (1, "baseline", "stable", 0, None),
        (2, "ab", "canary", 100, None),
        (3, "ab", None, None, 10),
    ]


def test_listed_versions_have_the_models_role_unless_they_have_their_own(tmp_path: Path) -> None:
    text = (
        "models:\n  - name: m\n    path: m\n    role: ab\n    versions:\n"
        "      - {version: 1, traffic: 100}\n      - {version: 2, role: baseline}\n"
    )
    model = settings_of(text)
    assert [entry[1] for entry in plain(model)] == ["ab", "baseline"]
    (tmp_path / "m.yaml").write_text(text)
    after = promoted(model, 2)
    assert write_versions(tmp_path / "m.yaml", after)
    assert plain(settings_of((tmp_path / "m.yaml").read_text())) == plain(after)


def test_split() -> None:
    assert [one[3] for one in plain(split(settings_of(), {1: 60, 2: 40}))] == [60, 40, None]
    assert [one[3:] for one in plain(split(settings_of(), {3: 100}))] == [(0, None), (0, None), (100, None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: promoted(model, 9), "version 9 is not in the list of model m; there are 1, 2, 3"),
        (lambda model: promoted(promoted(model, 2), 2), "version 2 of model m has all traffic already"),
        (lambda model: split(model, {1: 50}), "add up to 100, not 50"),
        (lambda model: split(model, {1: 150, 2: -50}), "numbers from 0 to 100"),
        (lambda model: split(model, {7: 100}), "version 7 is not in the list"),
    ],
)
def test_changes_that_cannot_be(change: Any, message: str) -> None:
    with pytest.raises(ControlError, match=message):
        change(settings_of())


def test_only_lists_can_be_changed() -> None:
    for versions in ("{latest: 2}", "{all: true}"):
        model = settings_of(f"models: [{{name: m, path: m, versions: {versions}}}]")
        with pytest.raises(ControlError, match="list them in the manifest to split calls"):
            promoted(model, 1)
    only = settings_of("models: [{name: m, path: m, versions: [{version: 1}]}]")
    with pytest.raises(ControlError, match="version 1 is the only one"):
        promoted(only, 1)


def test_the_file_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    path.chmod(0o640)
    write_versions(path, promoted(settings_of(), 2))
    wanted = MANIFEST.replace("baseline, label: stable, traffic: 95", "ab, label: canary, traffic: 0").replace(
        "ab, label: canary, traffic: 5", "baseline, label: stable, traffic: 100"
    )
    # Comments stay in their column.
    assert re.sub(" +#", " #", path.read_text()) == re.sub(" +#", " #", wanted)
    assert path.stat().st_mode & 0o777 == 0o640
    assert plain(load_manifest(path).models[0]) == plain(promoted(settings_of(), 2))
    before = path.read_text()
    with pytest.raises(ValueError, match="does not list version 9"):
        write_versions(path, settings_of(MANIFEST.replace("version: 3", "version: 9")))
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{version: 1, traffic: 100, shadow: 5}", "has traffic and shadow"),
        ("{version: 1, shadow: 5}", "every version is a shadow"),
        ("{version: 1, shadow: 0}", "shadow"),
    ],
)
def test_shadows_in_a_manifest(entries: str, message: str) -> None:
    from corelane.processor.errors import ManifestError

    with pytest.raises(ManifestError, match=message):
        settings_of(f"models: [{{name: m, path: m, versions: [{entries}]}}]")


def response(value: float, name: str = "y") -> bytes:
    found = messages.PredictResponse()
    tensors.encode(np.array([value, 1], np.float32), found.outputs[name])
    return bytes(found.SerializeToString())


def test_differences_of_answers() -> None:
    assert largest_difference(Method.PREDICT, response(1), response(1)) == 0
    assert largest_difference(Method.PREDICT, response(1), response(1.5)) == 0.5
    assert largest_difference(Method.PREDICT, response(1), response(1, "z")) == float("inf")
    nan = response(float("nan"))
    assert largest_difference(Method.PREDICT, nan, nan) == 0
    assert largest_difference(Method.PREDICT, nan, response(1)) == float("inf")
    one, other = messages.ModelInferResponse(), messages.ModelInferResponse()
    kserve_tensors.fill_response(one, {"y": np.array([b"a"], object)})
    kserve_tensors.fill_response(other, {"y": np.array([b"b"], object)})
    data = [bytes(found.SerializeToString()) for found in (one, other)]
    assert largest_difference(Method.INFER, data[0], data[0]) == 0
    assert largest_difference(Method.INFER, *data) == float("inf")
    result = messages.ClassificationResponse()
    result.result.classifications.add().classes.add(label="a", score=1)
    assert largest_difference(Method.CLASSIFY, result.SerializeToString(), result.SerializeToString()) == 0


def test_shadows_that_find_no_room_are_dropped_not_queued() -> None:
    class Stuck:
        def __init__(self) -> None:
            self.open = threading.Event()

        def call(self, call: Call) -> bytes:
            self.open.wait(20)
            raise Unavailable("gone")

    shadows = Shadows(1.0)
    shadows.router = stuck = Stuck()  # type: ignore[assignment]
    call = Call(method=Method.PREDICT, model="m", request=b"", deadline_ns=0, cancellation=Cancellation())
    route = VersionRoute(version=3, state="AVAILABLE", shadow=100, instance=1)
    for _ in range(100):
        shadows.copy(call, Assignment.HIGHEST, [route], b"")
    assert shadows.take_counts() == [Count(kind=CountKind.SHADOW, model="m", version=3, outcome="dropped", number=36)]
    stuck.open.set()
    wait_until(lambda: shadows._under_way == 0, "the copies' ends")
    assert shadows.take_counts() == [Count(kind=CountKind.SHADOW, model="m", version=3, outcome="failed", number=64)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        onnx_models.write_scale(tmp_path / f"m/{version}", version)
    return tmp_path


def version_of(client: Client) -> int:
    return client.predict_versioned("m", {"x": [1.0]})[1]


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corelane", *arguments, "--admin", server.admin], capture_output=True, text=True
    )


def test_promote_and_roll_back_without_a_failed_call(folder: Path) -> None:
    with serving(folder, MANIFEST.partition("\n")[2]) as server, Client(server.grpc) as client:
        for version in (1, 2, 3):
            server.wait_state("m", version, "AVAILABLE")
        pid = server.version("m", 1)["pid"]
        failures: list[Exception] = []
        stop = threading.Event()

        def call() -> None:
            while not stop.is_set():
                try:
                    version_of(client)
                except Exception as error:
                    failures.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        result = run(server, "promote", "m", "2")
        assert (result.returncode, result.stderr) == (0, "")
        said = [
            "label stable of model m moves from version 1 to version 2",
            "label canary of model m moves from version 2 to version 1",
            "version 2 of model m gets all calls",
            "calls of model m: version 2 100 %, copied to version 3 10 %",
            f"written to {folder / 'manifest.yaml'}",
        ]
        assert result.stdout.splitlines() == said
        assert {version_of(client) for _ in range(30)} == {2}
        assert client.predict("m", {"x": [1.0]}, label="stable")["y"].tolist() == [2.0]
        assert (server.version("m", 2)["role"], server.version("m", 2)["label"]) == ("baseline", "stable")
        assert {one.version: one.traffic for one in load_manifest(server.manifest).models[0].versions.listed} == {
            1: 0,
            2: 100,
            3: None,
        }
        assert run(server, "rollback", "m").returncode == 0
        assert {version_of(client) for _ in range(200)} == {1, 2}
        assert server.version("m", 1)["label"] == "stable"
        assert run(server, "traffic", "m", "1=0", "2=100").returncode == 0
        assert {version_of(client) for _ in range(30)} == {2}
        stop.set()
        caller.join()
        assert not failures
        assert server.version("m", 1)["pid"] == pid, "nothing was loaded for it"
        reasons = [event["reason"] for event in server.status()["core_changes"]]
        assert any(reason.startswith("version 2 of model m gets all calls; label stable") for reason in reasons)


def test_a_promote_undoes_nothing_that_was_applied(folder: Path) -> None:
    with serving(folder, MANIFEST) as server:
        server.wait_state("m", 2, "AVAILABLE")
        server.apply(LISTEN + MANIFEST + "  - {name: other, path: m, versions: [{version: 1}]}\n")
        server.wait_state("other", 1, "AVAILABLE")
        assert run(server, "promote", "m", "2").returncode == 0
        # Longer than the file is watched for.
        wait_until(lambda: server.status()["uptime_s"] > 0, "an answer")
        end_s = time.monotonic() + 1.5
        while time.monotonic() < end_s:
            assert server.version("other", 1)["state"] == "AVAILABLE"
        server.manifest.write_text(LISTEN + MANIFEST.replace("stable", "steady"))
        wait_until(lambda: server.version("other", 1).get("state") is None, "the file, changed by hand")
        assert server.version("m", 1)["label"] == "steady"


def test_what_cannot_be_promoted(folder: Path) -> None:
    with serving(folder, MANIFEST.replace("version: 3", "version: 9")) as server:
        for arguments, message in (
            (("promote", "m", "9"), "version 9 of model m is not available"),
            (("promote", "nonesuch", "1"), "model nonesuch is not in the manifest\n"),
            (("promote", "mm", "1"), "model mm is not in the manifest; did you mean m?"),
            (("rollback", "m"), "nothing was promoted or split of model m"),
            (("traffic", "m", "1=50"), "add up to 100"),
        ):
            result = run(server, *arguments)
            assert (result.returncode, message in result.stderr) == (1, True), result.stderr
        for share in ("1", "1=nan", "1=1_00", "x=100"):
            result = run(server, "traffic", "m", share)
            assert (result.returncode, f"{share} should be a version" in result.stderr) == (2, True), result.stderr
        for body in ({}, {"action": "explode", "model": "m"}, {"action": "split", "model": "m", "shares": 1}):
            assert ask(server.admin, "POST", "/v1/traffic", body).status == 400


def test_a_manifest_that_cannot_be_written_is_told_of(folder: Path) -> None:
    with serving(folder, MANIFEST) as server:
        server.wait_state("m", 2, "AVAILABLE")
        text = server.manifest.read_text()
        server.manifest.unlink()
        result = run(server, "promote", "m", "2", "--json")
        said = json.loads(result.stdout)["said"]
        assert said[0] == "version 2 of model m gets all calls"
        assert "the manifest was not written, so this holds until it changes or the server restarts" in said[-1]
        server.manifest.write_text(text)


def test_sticky_by_metadata_and_by_header(folder: Path) -> None:
    models = MANIFEST.replace("path: m", "path: m\n    sticky_key: user-id").replace("traffic: 95", "traffic: 50")
    with serving(folder, models.replace("traffic: 5}", "traffic: 50}"), listen=WITH_REST) as server:
        server.wait_state("m", 2, "AVAILABLE")
        server.wait_state("m", 1, "AVAILABLE")
        request = messages.PredictRequest()
        request.model_spec.name = "m"
        tensors.encode(np.array([1], np.float32), request.inputs["x"])
        by_grpc = {}
        with grpc.insecure_channel(server.grpc) as channel:
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            for number in range(60):
                user = f"u{number}"
                answers = [predict(request.SerializeToString(), metadata=[("user-id", user)]) for _ in range(3)]
                versions = {messages.PredictResponse.FromString(one).model_spec.version.value for one in answers}
                assert len(versions) == 1
                by_grpc[user] = versions.pop()
        assert set(by_grpc.values()) == {1, 2}
        for user, version in by_grpc.items():
            found = ask(server.http, "POST", "/v1/models/m:predict", {"instances": [1]}, {"User-Id": user}).json
            assert found == {"predictions": [float(version)]}
        found = scraped(server)
        for version in (1, 2):
            counted = value(found, "corelane_assignments_total", model="m", version=version, assignment="sticky")
            assert counted == 4 * list(by_grpc.values()).count(version)


def test_shadow_traffic(folder: Path) -> None:
    models = MANIFEST.replace("shadow: 10", "shadow: 100")
    with serving(folder, models, listen=LISTEN) as server, Client(server.grpc) as client:
        for version in (1, 2, 3):
            server.wait_state("m", version, "AVAILABLE")
        versions = [version_of(client) for _ in range(40)]
        assert 3 not in versions, "a shadow answers nobody"
        assert client.predict("m", {"x": [1.0]}, version=3)["y"].tolist() == [3.0], "but who names it"
        client.predict("m", {"x": [0.0]}, version=1)  # named calls are not copied

        def shadowed() -> Any:
            found = scraped(server)
            who = {"model": "m", "version": 3}
            count = value(found, "corelane_shadow_answers_total", **who, result="different")
            return found if count == 40 else None

        found = wait_until(shadowed, "the shadow's answers")
        who = {"model": "m", "version": 3}
        assert value(found, "corelane_shadow_difference_bucket", **who, le="0.1") == 0
        # Version 3 answers 3, the others 1 and 2.
        assert value(found, "corelane_shadow_difference_bucket", **who, le="1e0") == versions.count(2)
        assert value(found, "corelane_shadow_difference_bucket", **who, le="1e1") == 40
        assert value(found, "corelane_assignments_total", **who, assignment="shadowed") == 40
        labels = {**who, "api": "Predict", "entrypoint": "shadow"}
        assert value(found, "corelane_request_seconds_count", **labels) == 40
        assert value(found, ":tensorflow:serving:request_count", model_name="m", status="OK") == 42


@pytest.mark.parametrize("small", [0.00001, 1e-7, 5e-324, 0.1 + 0.2, 33.333333333333336])
def test_any_share_can_be_read_again(tmp_path: Path, small: float) -> None:
    """YAML 1.1 takes 1e-05 for text."""
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    changed = split(settings_of(), {1: 100 - small, 2: small})
    assert write_versions(path, changed)
    assert load_manifest(path).models[0] == dataclasses.replace(changed, path=tmp_path / "m")
    assert write_versions(path, promoted(load_manifest(path).models[0], 2))


@pytest.mark.parametrize(
    ("share", "text"),
    [(100.0, "100"), (-0.0, "0"), (99.99999, "99.99999"), (0.00001, "0.00001"), (2.5, "2.5"), (1e16, "1" + 16 * "0")],
)
def test_shares_are_said_exactly(share: float, text: str) -> None:
    assert percent(share) == text


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    """Versions that two models share by an alias cannot be changed of one of them."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "models:\n- name: a\n  path: a\n  versions: &both [{version: 1, traffic: 100}, {version: 2, traffic: 0}]\n"
        "- {name: b, path: b, versions: *both}\n"
    )
    before = path.read_text()
    with pytest.raises(ValueError, match=r"the versions of model a cannot be put into .* without changing more"):
        write_versions(path, promoted(load_manifest(path).models[0], 2))
    assert path.read_text() == before


def test_a_file_whose_turn_is_over_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    turn = Turn()
    assert turn.take()
    assert not write_versions(path, promoted(settings_of(), 2), turn)
    assert path.read_text() == MANIFEST
    assert [file.name for file in tmp_path.iterdir()] == ["m.yaml"]
