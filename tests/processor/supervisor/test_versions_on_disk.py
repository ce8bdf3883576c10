"""Version folders that are copied, switched and overwritten while a server runs, and clients that ask it to look."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from corelane.processor.errors import ModelNotFound, Unavailable
from corelane.processor.wire import messages
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import WITH_REST, Server, serving, serving_flags, wait_until

X = {"x": np.float32([1, 2])}
MODELS = ("half", "links", "broken", "held", "moved", "loaded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tensorflow_models: Path) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    shutil.copytree(tensorflow_models / "keras/1", folder / "half/1")
    for factor in (2, 3):
        onnx_models.write_scale(folder / f"contents/{factor}", factor)
    for name in ("links", "broken"):
        (folder / name).mkdir()
        (folder / name / "1").symlink_to(folder / "contents/2")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"held/{version}", version)
    onnx_models.write_scale(folder / "moved/1", 2)
    onnx_models.write_scale(folder / "loaded/1", 2)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    models = ", ".join(f"{{name: {name}, queue: {{timeout_ms: 2000}}, path: {name}}}" for name in MODELS)
    models = models.replace("path: half", "path: half, engine: tensorflow")
    with serving(folder, f"models: [{models}]", listen=WITH_REST) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def answer(client: Client, model: str, version: int | None = None) -> float:
    """What the model makes of 1."""
    return float(client.predict(model, X, version=version)["y"][0])


def overwrite(version: Path, factor: float) -> None:
    """As a copy of other files would, one after the other."""
    made = onnx_models.write_scale(version.with_name("made"), factor)
    for file in made.iterdir():
        shutil.copy(file, version / file.name)
    shutil.rmtree(made)


def switch(link: Path, target: Path) -> None:
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.rename(link)


def call(address: str, method: str, request: Any, timeout_s: float | None = 60) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(f"/{method}")(request.SerializeToString(), timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def reload(address: str, paths: dict[str, Path], timeout_s: float | None = 60) -> tuple[grpc.StatusCode, str]:
    request = messages.ReloadConfigRequest()
    for name, path in paths.items():
        request.config.model_config_list.config.add(name=name, base_path=str(path))
    return call(address, "tensorflow.serving.ModelService/HandleReloadConfigRequest", request, timeout_s)


def told(server: Server, model: str) -> str:
    """What GetModelStatus answers: an error's text, or those of the versions."""
    request = messages.GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            data = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(request.SerializeToString())
        except grpc.RpcError as error:
            return str(error.details())
    found = messages.GetModelStatusResponse.FromString(data)
    return "; ".join(item.status.error_message for item in found.model_version_status)


def test_a_version_whose_variables_come_later(
    server: Server, client: Client, folder: Path, tensorflow_models: Path
) -> None:
    source, target = tensorflow_models / "keras/1", folder / "half/2"
    x = {"x": np.ones((2, 8), np.float32)}
    expected = client.predict("half", x)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("variables"))
    missing = "variables/ is missing: saved_model.pb has variables"
    wait_until(lambda: server.version("half", 2).get("error") == missing, "the missing variables")
    assert server.version("half", 2)["state"] == "WAITING"
    assert missing in told(server, "half")

    # What only a run can tell: the load fails, and what served goes on.
    (target / "variables").mkdir()
    (target / "variables/README").write_text("to be copied")
    error = server.wait_state("half", 2, "FAILED")["error"]
    assert error.startswith("no signature runs, whatever its inputs: ")
    answered, version = client.predict_versioned("half", x)
    assert version == 1
    np.testing.assert_array_equal(answered["score"], expected["score"])

    shutil.copytree(source / "variables", target / "variables", dirs_exist_ok=True)
    server.wait_state("half", 2, "AVAILABLE")
    server.wait_state("half", 1, "RETIRED")
    np.testing.assert_allclose(client.predict("half", x)["score"], expected["score"], rtol=1e-5)


def test_a_link_that_is_switched_to_another_content(server: Server, client: Client, folder: Path) -> None:
    assert answer(client, "links") == 2
    before = server.version("links", 1)["pid"]
    switch(folder / "links/1", folder / "contents/3")

    def switched() -> bool:
        found = answer(client, "links")  # never refused
        assert found in (2, 3)
        return found == 3

    wait_until(switched, "the answer of the other content")
    after = wait_until(lambda: found if (found := server.version("links", 1))["pid"] != before else None, "its worker")
    assert after["error"] == ""
    assert after["notes"] == ["loaded anew: the files changed after they were loaded before"]
    assert "[links/1] its files have changed since they were loaded" in server.log.read_text()
    os.kill(after["pid"], signal.SIGKILL)
    wait_until(lambda: server.version("links", 1)["pid"] not in (before, after["pid"], None), "another worker")
    server.wait_state("links", 1, "AVAILABLE")
    assert answer(client, "links") == 3


def test_files_that_cannot_take_the_place_of_what_serves(server: Server, client: Client, folder: Path) -> None:
    """What was loaded answers on, as long as it lives; `status` and the log say what is there now."""
    (folder / "contents/bad").mkdir()
    (folder / "contents/bad/model.onnx").write_bytes(b"no model")
    pid = server.version("broken", 1)["pid"]
    switch(folder / "broken/1", folder / "contents/bad")
    error = wait_until(lambda: server.version("broken", 1)["error"], "an error")
    wait_until(lambda: "ONNX Runtime" in server.version("broken", 1)["error"], "the load's error")
    error = server.version("broken", 1)["error"]
    assert error.startswith("files or settings have changed, and what was loaded before is served: ")
    assert (server.version("broken", 1)["state"], server.version("broken", 1)["pid"]) == ("AVAILABLE", pid)
    assert answer(client, "broken") == 2
    os.kill(pid, signal.SIGKILL)
    assert "is not a model that ONNX Runtime can load" in server.wait_state("broken", 1, "FAILED")["error"]
    switch(folder / "broken/1", folder / "contents/3")
    server.wait_state("broken", 1, "AVAILABLE")
    assert answer(client, "broken") == 3
    notes = server.version("broken", 1)["notes"]
    assert notes == ["loaded anew: the files changed after they were loaded before"]


def test_a_version_that_is_written_to_while_it_serves(server: Server, client: Client, folder: Path) -> None:
    """It stays, and no older one takes its place."""
    pid = server.version("held", 2)["pid"]
    partial = folder / "held/2/model.onnx.part"
    partial.write_bytes(b"")
    waiting = "its files have changed, and what was loaded before is served: model.onnx.part is a partial copy"
    wait_until(lambda: server.version("held", 2)["error"] == waiting, "the partial copy")
    overwrite(folder / "held/2", 5)
    assert answer(client, "held") == 2
    assert (server.version("held", 2)["pid"], server.version("held", 1)) == (pid, {})
    partial.unlink()
    wait_until(lambda: answer(client, "held") == 5, "the new content")
    assert "[held/1] loading" not in server.log.read_text()


def test_loads_by_clients_look_first(server: Server, client: Client, folder: Path) -> None:
    request = messages.RepositoryModelLoadRequest(model_name="loaded")
    method = "inference.GRPCInferenceService/RepositoryModelLoad"
    onnx_models.write_scale(folder / "loaded/2", 4)
    assert call(server.grpc, method, request) == (grpc.StatusCode.OK, "")
    assert answer(client, "loaded") == 4
    onnx_models.write_scale(folder / "loaded/3", 6)
    assert ask(server.http, "POST", "/v2/repository/models/loaded/load", b"").status == 200
    assert answer(client, "loaded") == 6
    # One whose files are on their way is waited for, as long as the client does.
    onnx_models.write_scale(folder / "loaded/4", 7)
    (folder / "loaded/4/rest.part").write_bytes(b"")
    wait_until(lambda: server.version("loaded", 4), "the look at it")
    code, details = call(server.grpc, method, request, timeout_s=1)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED, details
    (folder / "loaded/4/rest.part").unlink()
    assert call(server.grpc, method, request) == (grpc.StatusCode.OK, "")
    assert answer(client, "loaded") == 7


def test_a_reload_answers_when_it_is_so(server: Server, client: Client, folder: Path) -> None:
    """The last test of this server: afterwards it has one model."""
    onnx_models.write_scale(folder / "late/1", 2)
    paths = {"late": folder / "late", "moved": folder / "moved"}
    assert reload(server.grpc, paths) == (grpc.StatusCode.OK, "")
    assert answer(client, "late") == 2
    onnx_models.write_scale(folder / "elsewhere/1", 9)
    paths["moved"] = folder / "elsewhere"
    assert reload(server.grpc, paths) == (grpc.StatusCode.OK, "")
    assert answer(client, "moved") == 9

    paths["moved"] = folder / "nowhere"
    code, details = reload(server.grpc, paths)
    reason = f"{folder}/nowhere does not exist"
    assert (code, details) == (
        grpc.StatusCode.UNKNOWN,
        f"no version is available of moved ({reason}; what was served before still is)",
    )
    assert answer(client, "moved") == 9
    paths["new"] = folder / "nowhere"
    code, details = reload(server.grpc, paths)
    assert (code, details) == (grpc.StatusCode.UNKNOWN, f"no version is available of new ({reason})")
    assert told(server, "new") == f"Could not find any versions of model new: {reason}"

    def is_not_found() -> bool:
        """By every gateway, in a moment: until it has the newest table, one says that it is still loading."""
        try:
            client.predict("new", X)
        except (ModelNotFound, Unavailable) as error:
            return isinstance(error, ModelNotFound)
        return False

    wait_until(is_not_found, "the model that is not there")
    paths["moved"] = folder / "broken_elsewhere"
    (folder / "broken_elsewhere/1").mkdir(parents=True)
    (folder / "broken_elsewhere/1/model.onnx").write_bytes(b"no model")
    code, details = reload(server.grpc, paths)
    assert code is grpc.StatusCode.UNKNOWN
    assert "is not a model that ONNX Runtime can load" in details
    assert answer(client, "moved") == 9


def test_one_look_is_finished_and_the_next_is_asked_for(tmp_path: Path) -> None:
    """TensorFlow Serving's --file_system_poll_wait_seconds=0, started right after the copy."""
    base = tmp_path / "m"
    onnx_models.write_scale(base / "1", 2)
    (base / "1/rest.part").write_bytes(b"")
    flags = ("--model_name=m", f"--model_base_path={base}", "--file_system_poll_wait_seconds=0")
    with serving_flags(tmp_path, *flags) as server:
        wait_until(lambda: server.version("m", 1).get("error"), "the first look")
        (base / "1/rest.part").unlink()
        server.wait_state("m", 1, "AVAILABLE")
        with server.client() as client:
            wait_until(lambda: server.status()["ready"], "the ports")
            assert answer(client, "m") == 2
            onnx_models.write_scale(base / "2", 4)
            assert reload(server.grpc, {"m": base}) == (grpc.StatusCode.OK, "")
            assert answer(client, "m") == 4
            server.wait_state("m", 1, "RETIRED")
            # The same version with other files is looked at, too.
            overwrite(base / "2", 5)
            assert reload(server.grpc, {"m": base}) == (grpc.StatusCode.OK, "")
            assert answer(client, "m") == 5
            # Whoever restarts a worker looks first: what comes back is what is there, and is told.
            overwrite(base / "2", 6)
            before = server.version("m", 2)["pid"]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: server.version("m", 2)["pid"] not in (before, None), "another worker")
            server.wait_state("m", 2, "AVAILABLE")
            assert answer(client, "m") == 6
            assert server.version("m", 2)["notes"] == ["loaded anew: the files changed after they were loaded before"]
