"""The manifest: what is accepted, and what each mistake is told."""

import json
import re
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corelane.commands import check
from corelane.processor.errors import ManifestError
from corelane.processor.manifest import (
    DivergenceSettings,
    Manifest,
    ModelSettings,
    VersionSettings,
    advice,
    load_manifest,
    parse_manifest,
)

BASE = Path("/base")


def parse(text: str) -> Manifest:
    return parse_manifest(text, source="m.yaml", base=BASE)


def problems_of(text: str) -> list[str]:
    """Without their columns, which test_manifest_places.py is about."""
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return [re.sub(r"^(m\.yaml:\d+):\d+:", r"\1:", line) for line in caught.value.problems]


def model(text: str) -> str:
    """A manifest of one model with these extra keys, which stand on line 4."""
    return f"models:\n  - name: ctr\n    path: models/ctr\n    {text}\n"


def test_the_whole_schema() -> None:
    manifest = parse("""
listen: {grpc: "127.0.0.1:8500", http: "127.0.0.1:8501", admin: "127.0.0.1:8502"}
host: {cores: auto, reserved_cores: auto}
models:
  - name: ctr
    path: models/ctr
    engine: auto
    versions:
      - {version: 3, role: baseline, label: stable, traffic: 95}
      - {version: 4, role: ab,       label: canary, traffic: 5}
    role: baseline
    slo_p99_ms: 20
    sessions: auto
    threads_per_session: 1
    precision: auto
    max_divergence: {relative: 0.02}
    queue: {capacity: 256, timeout_ms: 100}
    dispatch: shared_queue
    op_libraries: [ops/custom.so]
""")
    (ctr,) = manifest.models
    assert ctr.path == BASE / "models/ctr"
    assert ctr.op_libraries == ("/base/ops/custom.so",)
    assert ctr.labels == (("stable", 3), ("canary", 4))
    assert ctr.sessions is None
    assert (ctr.precision, ctr.max_divergence) == ("auto", DivergenceSettings(relative=0.02, absolute=1e-5))
    assert ctr.settings_of(4) == VersionSettings(version=4, role="ab", label="canary", traffic=5)


@pytest.mark.parametrize(
    ("text", "kind", "latest"),
    [("versions: {latest: 3}", "latest", 3), ("versions: {all: true}", "all", 1), ("role: ab", "latest", 1)],
)
def test_short_forms(text: str, kind: str, latest: int) -> None:
    (found,) = parse(model(text)).models
    assert (found.versions.kind, found.versions.latest) == (kind, latest)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("egine: auto", "m.yaml:4: models[0].egine: is not a key; did you mean engine?"),
        ("queue: {size: 3}", "m.yaml:4: models[0].queue.size: is not a key; known keys: capacity, timeout_ms"),
        (
            "engine: tensorflw",
            "m.yaml:4: models[0].engine: should be 'auto', 'tensorflow', 'onnxruntime', 'openvino' or 'fused', "
            "not 'tensorflw'; did you mean tensorflow?",
        ),
        ("sessions: 0", "m.yaml:4: models[0].sessions: should be auto or a whole number of at least 1, not 0"),
        ("sessions: true", "m.yaml:4: models[0].sessions: should be auto or a whole number of at least 1, not true"),
        ("slo_p99_ms: fast", "m.yaml:4: models[0].slo_p99_ms: should be a number, not 'fast'"),
        ("versions: 3", "m.yaml:4: models[0].versions: should be {latest: N}, {all: true}, or a list of"),
        ("versions: {latest: 0}", "m.yaml:4: models[0].versions: latest should be a whole number of at least 1, not 0"),
        ("versions: {newest: 1}", "traffic: ..., shadow: ...}, not 'newest'"),
        ("versions: []", "m.yaml:4: models[0].versions: the list of versions is empty; list at least one"),
        (
            "versions: [{version: 1}, {version: 1}]",
            "m.yaml:4: models[0].versions[1].version: version 1 is listed twice",
        ),
        (
            "versions: [{version: 1, label: x}, {version: 2, label: x}]",
            "m.yaml:4: models[0].versions[1].label: label x is listed twice",
        ),
        (
            "versions: [{version: 1, traffic: 50}, {version: 2, traffic: 40}]",
            "m.yaml:4: models[0].versions: traffic of the versions should add up to 100, not 90",
        ),
        ("versions: [{version: 1, rle: ab}]", "m.yaml:4: models[0].versions[0].rle: is not a key; did you mean role?"),
        (
            "max_divergence: 0.01",
            "m.yaml:4: models[0].max_divergence: should be a mapping such as {relative: 0.01, absolute: 1e-05}; "
            "0.01 alone was an absolute bound, which is {relative: 0, absolute: 0.01} now",
        ),
        ("max_divergence: {relativ: 1}", "max_divergence.relativ: is not a key; did you mean relative?"),
        ("name: again", "m.yaml:4: models[0].name: stands twice, first at line 2; keep one"),
        ("path: ''", "m.yaml:4: models[0].path: stands twice, first at line 3; keep one"),
        ("op_libraries: ['s3://b/ops.so']", "models[0].op_libraries[0]: s3://b/ops.so is not on this host"),
        (
            "request_log: {folder: 'gs://b/logs'}",
            "m.yaml:4: models[0].request_log.folder: gs://b/logs is not on this host",
        ),
        ("? [a, b]\n    : 1", "m.yaml:4: models[0]: keys should be plain words"),
    ],
)
def test_problems_name_their_line_and_what_would_be_right(text: str, problem: str) -> None:
    problems = problems_of(model(text))
    assert any(problem in line for line in problems), problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml:1: the manifest is empty; it needs models"),
        ("[]", "m.yaml:1: should be a mapping with models, listen and host"),
        ("models: {", "m.yaml:1: a value or a closing bracket is missing at the end"),
        ("listen: {}", "m.yaml:1: models is missing: list the models to serve"),
        ("models: &a [*a]", "m.yaml:1: this value contains itself"),
        ("models:\n  - name: a\n", "m.yaml:2: models[0].path: is missing"),
        (
            f"models: [{{name: {'n' * 257}, path: x}}]",
            f"m.yaml:1: models[0].name: {'n' * 80!r}... cannot be a name: it has",
        ),
        ('models: [{name: "a\\0b", path: x}]', "m.yaml:1: models[0].name: should be a name that a path can carry"),
        ('models: [{name: a, path: "x\\0y"}]', "m.yaml:1: models[0].path: 'x\\x00y' has a zero byte"),
        (f"models: [{{name: a, path: {'x/' * 3000}}}]", f"m.yaml:1: models[0].path: {'x/' * 40!r}... is too long"),
        (f"models: [{{name: a, path: {'x' * 300}}}]", f"m.yaml:1: models[0].path: {'x' * 80!r}... is too long"),
        ("models: []\nlisten: {grpc: 8500}", 'm.yaml:2: listen.grpc: should be an address such as "127.0.0.1:8500"'),
        ("models: []\nlisten: {grpc: 'x:99999'}", "m.yaml:2: listen.grpc: should be an address"),
        (
            "models:\n  - {name: a, path: x}\n  - {name: a, path: y}",
            "m.yaml:3: models[1].name: a is also the name of the model at line 2",
        ),
    ],
)
def test_documents_that_are_no_manifest(text: str, problem: str) -> None:
    problems = problems_of(text)
    assert any(line.startswith(problem) for line in problems), problems


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("page_actions: true", ""),
        ("page_actions: true, admin: '[::1]:8502'", ""),
        ("page_actions: true, auth: {api_keys: keys, managers: [ops]}, admin: '0.0.0.0:8502'", ""),
        ("page_actions: false, admin: '0.0.0.0:8502'", ""),
        (
            "page_actions: true, admin: '0.0.0.0:8502'",
            "m.yaml:2:24: listen.page_actions: needs listen.auth with managers, or listen.admin on loopback, "
            "not 0.0.0.0:8502",
        ),
        (
            "page_actions: true, auth: {api_keys: keys}",
            "m.yaml:2:24: listen.page_actions: needs listen.auth.managers: the clients that may act from the page",
        ),
        ("auth: {managers: [ops]}", "m.yaml:2:16: listen.auth: needs api_keys, jwt, or both"),
    ],
)
def test_who_may_act_has_to_be_known(listen: str, problem: str) -> None:
    text = f"models: []\nlisten: {{{listen}}}"
    if not problem:
        parse(text)
        return
    with pytest.raises(ManifestError) as caught:
        parse(text)
    assert caught.value.problems == [problem]


def test_all_problems_are_told_at_once_in_order() -> None:
    problems = problems_of("models:\n  - name: a\n    sessions: x\n    queue: {capacity: 0}\n    dispatch: random\n")
    assert [line.split(":")[1] for line in problems] == ["2", "3", "4", "5"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load_manifest(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="is not UTF-8 text"):
        load_manifest(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", sorted(path.name for path in Path("configs").glob("*.yaml")))
def test_shipped_manifests_are_valid(name: str) -> None:
    assert load_manifest(Path("configs") / name).models


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab1: ", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1: ", max_size=8), inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from(["models", "listen", "host", "name", "path", "versions", "queue", "traffic", "version", "all"])


@given(st.dictionaries(_keys, _values | st.dictionaries(_keys, _values) | st.lists(st.dictionaries(_keys, _values))))
def test_any_document_is_a_manifest_or_a_list_of_problems(document: dict) -> None:
    try:
        parse(yaml.safe_dump(document))
    except ManifestError as error:
        assert error.problems
        assert all(problem.startswith("m.yaml:") for problem in error.problems)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("s3://bucket/ctr", "s3://bucket/ctr is not on this host; only its file system is read: mount it, or copy it"),
        ("gs://bucket/ctr", "gs://bucket/ctr is not on this host"),
        ("hdfs://name:9000/ctr", "hdfs://name:9000/ctr is not on this host"),
        ("/mnt/s3://bucket", "s3://bucket is not on this host"),
        ("file:///models/ctr", "file://models/ctr is a URL; write the path alone: /models/ctr"),
    ],
)
def test_paths_that_are_urls(path: str, problem: str) -> None:
    (line,) = problems_of(f"models:\n  - name: ctr\n    path: {path}\n")
    assert line.startswith(f"m.yaml:3: models[0].path: {problem}")
    for key in ("certificate", "key", "client_ca"):
        files = {"certificate": "c.pem", "key": "k.pem", key: path}
        text = ", ".join(f"{name}: '{value}'" for name, value in files.items())
        (line,) = problems_of(f"listen: {{tls: {{{text}}}}}\nmodels: []\n")
        assert line.startswith(f"m.yaml:1: listen.tls.{key}: {problem}")
    # As TensorFlow Serving's flags hand it over, behind the working folder.
    settings = ModelSettings(name="ctr", path=Path(path).absolute())
    (warning,) = advice.warnings(Manifest(models=(settings,)))
    assert warning.startswith(f"model ctr: {problem}")


def test_a_folder_may_be_named_like_a_scheme(tmp_path: Path) -> None:
    (tmp_path / "s3:/bucket/1").mkdir(parents=True)
    (tmp_path / "s3:/bucket/1/model.onnx").touch()
    assert advice.warnings(Manifest(models=(ModelSettings(name="ctr", path=tmp_path / "s3:/bucket"),))) == []


@pytest.mark.parametrize(
    ("name", "problem", "is_error"),
    [
        ("ctr", None, False),
        ("ctr-1.5_b", None, False),
        ("ranker größe", "it has white space", True),
        ("größe", None, False),
        ("50%", None, False),
        ("", "it is empty", True),
        ("a/b", "a path is cut at its /", True),
        ("a:predict", "what follows its : is taken for a method, such as :predict", False),
        (".", "clients read it as this folder", False),
        ("..", "clients read it as the folder above", False),
        ("a\nb", "it has white space or characters that cannot be printed", True),
        ("a\x07b", "it has white space or characters that cannot be printed", True),
        ("a\u200bb", "it has white space or characters that cannot be printed", True),
    ],
)
def test_names_that_rest_cannot_carry(name: str, problem: str | None, is_error: bool) -> None:
    text = f"models:\n  - name: {json.dumps(name)}\n    path: x\n"
    if is_error:
        (line,) = problems_of(text)
        assert line.startswith("m.yaml:2: models[0].name: should be a name that a path can carry, not")
        assert problem is not None
        assert problem in line
    else:
        parse(text)
    warnings = advice.warnings(Manifest(models=(ModelSettings(name=name, path=BASE),)))
    assert [problem in warning for warning in warnings if "by REST" in warning] == ([True] if problem else [])


def test_check_names_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("models/1", "models/001"):
        (tmp_path / folder).mkdir(parents=True)
    manifest = tmp_path / "m.yaml"
    manifest.write_text("models:\n  - {name: 'a:b', path: models}\n")
    assert check.run(Namespace(manifest=manifest, json=False)) == 0
    said = capsys.readouterr().err
    assert "warning: model 'a:b' cannot be called by REST: what follows its : is taken for a method" in said
    assert "has version 1 twice: 1 is served, 001 is not; remove or rename one" in said
    manifest.write_text("models:\n  - {name: a, path: 's3://bucket/a'}\n")
    assert check.run(Namespace(manifest=manifest, json=False)) == 2
    assert "m.yaml:2:21: models[0].path: s3://bucket/a is not on this host" in capsys.readouterr().err
