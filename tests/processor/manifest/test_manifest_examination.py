"""`corelane check` and the folders that a manifest names: what can never work, and what may still come."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from corelane.commands import check
from corelane.processor.manifest import advice, load_manifest
from corelane.processor.manifest.examination import Examination, examine


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """ctr with versions 3 and 4."""
    for version in (3, 4):
        (tmp_path / f"models/ctr/{version}").mkdir(parents=True)
        (tmp_path / f"models/ctr/{version}/model.onnx").write_bytes(b"")
    return tmp_path


def examined(folder: Path, model: str, rest: str = "") -> Examination:
    manifest = folder / "m.yaml"
    manifest.write_text(f"models:\n  - name: ctr\n    {model}\n{rest}")
    return examine(manifest)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "models/ctr/3",
            "models/ctr/3 is the folder of one version; write models/ctr, and versions: [{version: 3}] for this "
            "version alone",
        ),
        (
            "models/ctr/3/model.onnx",
            "model.onnx is a file; write models/ctr, the folder of the numbered version folders",
        ),
        ("./models/ctr/3/", "write ./models/ctr, and versions: [{version: 3}]"),
        ("m.yaml", "m.yaml is a file; write the model's folder, which has a numbered folder for each version"),
        ("models/flat", "models/flat has a model's files itself; put them into a numbered folder of it, such as"),
    ],
)
def test_paths_that_can_never_work_are_problems(models: Path, path: str, sentence: str) -> None:
    (models / "models/flat").mkdir()
    (models / "models/flat/saved_model.pb").write_bytes(b"")
    seen = examined(models, f"path: {path}")
    (problem,) = seen.problems
    assert (problem.line, problem.column, problem.key) == (3, 11, "models[0].path")
    assert sentence in problem.sentence
    assert seen.warnings == ()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("models/none", "models/none is not there; it will be served when it is"),
        ("models/empty", "has no version, a folder with a number such as"),
        ("models", "it has ctr, empty, link"),
        ("models/link", "models/link is not there; it will be served when it is"),
    ],
)
def test_what_may_still_come_is_a_warning(models: Path, path: str, sentence: str) -> None:
    (models / "models/empty").mkdir()
    (models / "models/link").symlink_to("nowhere")
    seen = examined(models, f"path: {path}")
    assert seen.problems == ()
    (warning,) = seen.warnings
    assert warning.place.endswith("m.yaml:3:11")
    assert sentence in warning.sentence


def test_versions_that_are_listed_and_not_there(models: Path) -> None:
    seen = examined(models, "path: models/ctr\n    versions: [{version: 3}, {version: 7}]")
    assert seen.problems == ()
    (warning,) = seen.warnings
    assert (warning.line, warning.key) == (4, "models[0].versions[1].version")
    assert warning.sentence.endswith("ctr/7 is not there; it will be served when it is; there are 3, 4")


def test_folders_are_looked_at_although_keys_are_wrong(models: Path) -> None:
    seen = examined(models, "path: models/ctr/3", "  - {name: b, path: x, sesions: 1}\n  - 5\n")
    assert [problem.key for problem in seen.problems] == ["models[0].path", "models[1].sesions", "models[2]"]


def test_a_manifest_without_models_and_files_that_are_not_there(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "models: []\nlisten: {tls: {certificate: m.yaml, key: k.pem}, auth: {api_keys: keys, jwt: {key: j.pem}}}\n"
    )
    seen = examine(manifest)
    assert (seen.problems, seen.models) == ((), 0)
    assert [warning.key for warning in seen.warnings] == [
        *("models", "listen.tls.key", "listen.auth.api_keys", "listen.auth.jwt.key")
    ]
    assert seen.warnings[0].sentence.startswith("the manifest lists no models")


def test_libraries_that_are_not_there(models: Path) -> None:
    (warning,) = examined(models, "path: models/ctr\n    op_libraries: [m.yaml, none.so]").warnings
    assert warning.key == "models[0].op_libraries[1]"


def test_a_server_starts_with_what_check_refuses(models: Path) -> None:
    manifest = models / "m.yaml"
    manifest.write_text("models: [{name: a, path: models/ctr/3}, {name: b, path: m.yaml}]")
    said = advice.warnings(load_manifest(manifest))
    assert [line.split(":")[0] for line in said] == ["model a", "model b"]
    assert f"write {models}/models/ctr, and versions" in said[0]


def test_the_command_tells_all_of_it(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = models / "m.yaml"
    manifest.write_text(
        "models:\n  - {name: a, path: models/ctr/3}\n  - {name: b, path: none, pth: 1}\n  - {name: c, path: of}\n"
    )
    assert check.run(Namespace(manifest=manifest, json=False)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines[::3]] == [f"{manifest}:{place}:" for place in ("2:21", "3:27", "4:21")]
    assert [line.strip(" |") for line in lines[2::3]] == ["^" * 12, "^^^", "^^"]
    assert check.run(Namespace(manifest=manifest, json=True)) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["valid"], len(answer["problems"]), len(answer["warnings"])) == (False, 2, 1)
    assert [(detail["severity"], detail["line"], detail["column"]) for detail in answer["details"]] == [
        *(("error", 2, 21), ("error", 3, 27), ("warning", 4, 21))
    ]
    assert check.run(Namespace(manifest=models / "none.yaml", json=True)) == 2
    (detail,) = json.loads(capsys.readouterr().out)["details"]
    assert (detail["line"], detail["message"]) == (None, "cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("rest", "column"),
    [("", 11), ("    versions: {all: true}\n", 11), ("    versions: [{version: 5}]\n", 26)],
)
def test_a_version_without_a_model_is_warned_of(models: Path, rest: str, column: int) -> None:
    (models / "models/ctr/5").mkdir()
    (warning,) = examined(models, "path: models/ctr", rest).warnings
    assert warning.sentence.endswith("models/ctr/5 holds no model; it will be served when it does")
    assert warning.column == column


def test_a_policy_that_is_misspelt_is_guessed(models: Path) -> None:
    (problem,) = examined(models, "path: models/ctr", "    versions: {lastest: 1}\n").problems
    assert problem.sentence.endswith("did you mean latest?")
