"""Versions that cannot be loaded: others serve on, and `status` says why."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import onnx_models
from tests.support.load import ScaleLoad
from tests.support.server import Server, serving, wait_until

GOOD = "{name: good, path: good, queue: {timeout_ms: 2000}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.write_scale(tmp_path / "good/1", 1)
    return tmp_path


def error_of(server: Server, model: str, version: int = 1) -> str:
    return server.wait_state(model, version, "FAILED")["error"]


def test_broken_files(folder: Path, tensorflow_models: Path) -> None:
    whole = onnx_models.write_scale(folder / "truncated/1", 1) / "model.onnx"
    whole.write_bytes(whole.read_bytes()[:-20])
    (folder / "garbage/1").mkdir(parents=True)
    (folder / "garbage/1/saved_model.pb").write_bytes(os.urandom(1000))
    shutil.copytree(tensorflow_models / "tf2", folder / "corrupt")
    data = folder / "corrupt/1/variables/variables.index"
    data.write_bytes(data.read_bytes()[:-10])
    (folder / "unknown/1").mkdir(parents=True)
    (folder / "unknown/1/model.pt").write_bytes(b"not ours")
    (folder / "no_weights/1").mkdir(parents=True)
    (folder / "no_weights/1/model.xml").write_text("<net")
    names = ["truncated", "garbage", "corrupt", "unknown", "no_weights"]
    models = ", ".join([GOOD, *(f"{{name: {name}, path: {name}}}" for name in names)])
    with serving(folder, f"models: [{models}]", ready=False) as server:
        server.wait_state("good", 1, "AVAILABLE")
        with ScaleLoad(server.grpc, "good") as load:
            server.wait_ready()
            assert "is not a model that ONNX Runtime can load" in error_of(server, "truncated")
            assert "is not a SavedModel that TensorFlow can load" in error_of(server, "garbage")
            assert "is not a SavedModel that TensorFlow can load" in error_of(server, "corrupt")
            assert "holds no model: expected saved_model.pb" in error_of(server, "unknown")
            assert "is not a model that OpenVINO can load" in error_of(server, "no_weights")
        assert load.failures == []
        assert load.wrong == []


def _library(folder: Path, name: str, body: str) -> None:
    """A library of ops that does something when it is loaded."""
    source = folder / f"{name}.cc"
    source.write_text(
        "#include <cstdio>\n#include <cstdlib>\n#include <unistd.h>\n"
        f"__attribute__((constructor)) static void Load() {{ {body} }}\n"
    )
    subprocess.run(["g++", "-shared", "-fPIC", "-o", folder / f"{name}.so", source], check=True)


def test_a_load_that_hangs_is_ended_and_holds_up_nobody(folder: Path, tensorflow_models: Path) -> None:
    _library(folder, "hang", "sleep(100);")
    shutil.copytree(tensorflow_models / "tf2", folder / "hangs")
    models = f"models: [{{name: hangs, path: hangs, op_libraries: [hang.so], load_timeout_s: 4}}, {GOOD}]"
    with serving(folder, models, ready=False) as server:
        server.wait_state("good", 1, "AVAILABLE")
        assert server.version("hangs", 1)["state"] == "LOADING"
        assert not server.status()["ready"]
        assert error_of(server, "hangs") == "the load took longer than 4 s (load_timeout_s); it was compiling"
        server.wait_ready()


def test_a_load_whose_first_run_never_ends_names_the_signature(folder: Path) -> None:
    onnx_models.write_slow(folder / "endless/1", more=10**15)
    models = f"models: [{{name: endless, path: endless, load_timeout_s: 6}}, {GOOD}]"
    with serving(folder, models, ready=False) as server:

        def phase() -> tuple[str, str]:
            load = server.version("endless", 1).get("load")
            return (load["phase"], load["signature"]) if load else ("", "")

        wait_until(lambda: phase() == ("warming up", "serving_default"), "its phase")
        late = "the load took longer than 6 s (load_timeout_s); it was warming up signature serving_default"
        assert error_of(server, "endless") == late
        server.wait_ready()


def test_a_version_is_loaded_anew_when_a_library_of_its_ops_changes(folder: Path, tensorflow_models: Path) -> None:
    _library(folder, "ops", 'fprintf(stderr, "first\\n");')
    shutil.copytree(tensorflow_models / "tf2", folder / "custom")
    with serving(folder, "models: [{name: custom, path: custom, op_libraries: [ops.so]}]") as server:
        pid = server.version("custom", 1)["pid"]
        _library(folder, "next", 'fprintf(stderr, "second\\n");')
        (folder / "next.so").rename(folder / "ops.so")
        wait_until(lambda: server.version("custom", 1)["pid"] not in (None, pid), "the next worker")
        server.wait_state("custom", 1, "AVAILABLE")
        assert "second" in server.log.read_text()


def test_a_load_that_runs_out_of_memory(folder: Path) -> None:
    onnx_models.write_heavy(folder / "heavy/1", 600)
    models = f"models: [{{name: heavy, path: heavy, memory_bytes_max: 400000000}}, {GOOD}]"
    with serving(folder, models, ready=False) as server, server.client() as client:
        server.wait_state("good", 1, "AVAILABLE")
        wait_until(lambda: server.version("heavy", 1)["error"], "an error")
        assert client.predict("good", {"x": [2.0]})["y"] == [2.0]
        server.apply(server.manifest.read_text().replace(", memory_bytes_max: 400000000", ""))
        server.wait_state("heavy", 1, "AVAILABLE")


def test_a_load_that_crashes(folder: Path, tensorflow_models: Path) -> None:
    _library(folder, "abort", 'std::fputs("no such device\\n", stderr); std::abort();')
    shutil.copytree(tensorflow_models / "tf2", folder / "crashes")
    models = f"models: [{{name: crashes, path: crashes, op_libraries: [abort.so]}}, {GOOD}]"
    with serving(folder, models, ready=False) as server, server.client() as client:
        wait_until(lambda: "SIGABRT" in server.version("crashes", 1).get("error", ""), "the crash's report")
        assert server.version("crashes", 1)["error"].startswith("the worker was killed by SIGABRT while loading")
        assert "no such device" in server.log.read_text()
        server.wait_state("good", 1, "AVAILABLE")
        assert client.predict("good", {"x": [2.0]})["y"] == [2.0]


def test_a_failed_version_keeps_the_old_one_and_is_tried_when_its_files_change(folder: Path) -> None:
    with (
        serving(folder, f"models: [{GOOD}]") as server,
        server.client() as client,
        ScaleLoad(server.grpc, "good") as load,
    ):
        (folder / "good/2").mkdir()
        (folder / "good/2/model.onnx").write_bytes(b"broken")
        assert "is not a model that ONNX Runtime can load" in error_of(server, "good", 2)
        assert client.predict_versioned("good", {"x": [1.0]})[1] == 1
        shutil.rmtree(folder / "good/2")
        onnx_models.write_scale(folder / "2", 2).rename(folder / "good/2")
        assert server.wait_state("good", 2, "AVAILABLE")["error"] == ""
        server.wait_state("good", 1, "RETIRED")
        assert client.predict_versioned("good", {"x": [1.0]})[1] == 2
    assert load.failures == []
    assert load.wrong == []


def test_a_folder_being_written_is_not_loaded(folder: Path, tensorflow_models: Path) -> None:
    with serving(folder, f"models: [{GOOD}, {{name: ctr, path: ctr}}]", ready=False) as server:
        target = folder / "ctr/1"
        source = tensorflow_models / "tf2/1"
        (target / "variables").mkdir(parents=True)
        wait_until(lambda: server.version("ctr", 1), "the folder is seen")
        shutil.copy2(source / "variables/variables.index", target / "variables/variables.index")
        shutil.copy2(source / "saved_model.pb", target / "saved_model.pb")
        waiting = wait_until(lambda: server.version("ctr", 1)["error"].startswith("variables/"), "the missing piece")
        assert waiting
        assert server.version("ctr", 1)["state"] == "WAITING"
        assert server.version("ctr", 1)["error"] == "variables/variables.data-* is missing"
        shutil.copytree(source, target, dirs_exist_ok=True)
        server.wait_state("ctr", 1, "AVAILABLE")
        assert "not a SavedModel" not in server.log.read_text()


def test_states_of_paths_that_have_nothing_to_serve(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "words/latest").mkdir(parents=True)
    (folder / "hollow/3").mkdir(parents=True)
    (folder / "file").write_text("")
    names = ["missing", "empty", "words", "hollow", "file"]
    models = ", ".join([GOOD, *(f"{{name: {name}, path: {name}}}" for name in names)])
    with serving(folder, f"models: [{models}]") as server:
        found = {model["name"]: model for model in server.status()["models"]}
        assert found["missing"]["problem"] == f"{folder}/missing does not exist"
        for name in ("empty", "words"):
            assert found[name]["problem"].startswith(f"{folder}/{name} has no version folder: expected one named by")
        assert found["file"]["problem"] == f"{folder}/file is not a folder"
        assert server.version("hollow", 3)["state"] == "WAITING"
        assert server.version("hollow", 3)["error"] == "the folder is empty"
        onnx_models.write_scale(folder / "missing/1", 1)
        server.wait_state("missing", 1, "AVAILABLE")


def test_a_path_that_vanishes_is_served_on(folder: Path) -> None:
    with serving(folder, f"models: [{GOOD}]") as server, server.client() as client:
        (folder / "good").rename(folder / "away")
        wait_until(lambda: server.status()["models"][0]["problem"], "the problem is seen")
        assert client.predict("good", {"x": [2.0]})["y"] == [2.0]
