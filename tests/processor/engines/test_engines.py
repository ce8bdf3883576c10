"""Engines by themselves: what they load, how they describe it, every type they have, many sessions at once."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from corelane.processor.engines import EngineOptions, choose_engine, load_engine
from corelane.processor.engines.engine import Engine
from corelane.processor.errors import EngineMissing, InvalidRequest, LoadError
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, NUMPY_TYPES
from tests.support import onnx_models
from tests.support.threads import in_threads

ENGINES = ("onnxruntime", "openvino")
ONNX_TYPES = {
    "DT_FLOAT": TensorProto.FLOAT,
    "DT_DOUBLE": TensorProto.DOUBLE,
    "DT_HALF": TensorProto.FLOAT16,
    "DT_BFLOAT16": TensorProto.BFLOAT16,
    "DT_INT8": TensorProto.INT8,
    "DT_INT16": TensorProto.INT16,
    "DT_INT32": TensorProto.INT32,
    "DT_INT64": TensorProto.INT64,
    "DT_UINT8": TensorProto.UINT8,
    "DT_UINT16": TensorProto.UINT16,
    "DT_UINT32": TensorProto.UINT32,
    "DT_UINT64": TensorProto.UINT64,
    "DT_BOOL": TensorProto.BOOL,
    "DT_STRING": TensorProto.STRING,
}


def load(engine: str, folder: Path, **options: object) -> Engine:
    return load_engine(engine, folder, EngineOptions(**options))


def run(engine: Engine, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    return engine.run(engine.make_session(), signature, inputs, list(signature.outputs))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", ONNX_TYPES)
def test_every_type_scalar_matrix_and_nothing(name: str, dtype: str, tmp_path: Path) -> None:
    onnx_models.write_identity(tmp_path / "matrix", ONNX_TYPES[dtype], ["rows", 2])
    onnx_models.write_identity(tmp_path / "scalar", ONNX_TYPES[dtype], [])
    if (name, dtype) == ("openvino", "DT_DOUBLE"):
        with pytest.raises(LoadError, match="float64, which OpenVINO computes in 32 bits; use engine: onnxruntime"):
            load(name, tmp_path / "matrix")
        return
    matrix, scalar = load(name, tmp_path / "matrix"), load(name, tmp_path / "scalar")
    spec = matrix.signatures()[DEFAULT_SIGNATURE].inputs["x"]
    assert (spec.dtype, spec.shape) == (dtype, (-1, 2))
    assert scalar.signatures()[DEFAULT_SIGNATURE].inputs["x"].shape == ()

    def array(*values: int) -> np.ndarray:
        made = np.array(values, NUMPY_TYPES[dtype])
        if dtype == "DT_STRING":
            made[:] = [f"é{value}".encode() for value in values]
        return made

    for given in (array(0, 1, 2, 3).reshape(2, 2), array().reshape(0, 2), array(1, 0).reshape(1, 2)):
        got = run(matrix, x=given)["y"]
        assert got.dtype == given.dtype
        np.testing.assert_array_equal(got, given)
    got = run(scalar, x=array(1).reshape(()))["y"]
    assert got.shape == ()
    assert got == array(1)[0]
    matrix.unload()
    scalar.unload()


@pytest.mark.parametrize("name", ENGINES)
def test_many_sessions_share_one_model(name: str, tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "1", 3)
    engine = load(name, tmp_path / "1", sessions=4)
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    wrong: list[int] = []

    def work(seed: int) -> None:
        session = engine.make_session()
        for step in range(200):
            x = np.full(1 + step % 5, seed + step, np.float32)
            if not np.array_equal(engine.run(session, signature, {"x": x}, ["y"])["y"], 3 * x):
                wrong.append(step)

    in_threads(4, work)
    assert wrong == []


def test_arrays_returned_are_the_callers_to_keep(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "1", 2)
    for name in ENGINES:
        engine = load(name, tmp_path / "1")
        session, signature = engine.make_session(), engine.signatures()[DEFAULT_SIGNATURE]
        first = engine.run(session, signature, {"x": np.float32([1, 2])}, ["y"])["y"]
        engine.run(session, signature, {"x": np.float32([7, 8])}, ["y"])
        assert first.tolist() == [2, 4]


@pytest.mark.parametrize("with_words", [False, True])
def test_openvino_answers_nothing_that_an_earlier_run_left(tmp_path: Path, with_words: bool) -> None:
    """The best of no rows: OpenVINO skips the op, and its output is the last request's."""
    onnx_models.write_best(tmp_path / "1", with_words=with_words)
    engine = load("openvino", tmp_path / "1")
    signature, session = engine.signatures()[DEFAULT_SIGNATURE], engine.make_session()
    words = {"word": np.array([b"a"], object)} if with_words else {}
    for rows in ([3, 9, 4], [], [2], []):
        inputs = {"x": np.array(rows, np.float32), **words}
        if rows:
            assert engine.run(session, signature, inputs, ["best"])["best"].tolist() == [max(rows)]
            continue
        with pytest.raises(InvalidRequest, match="has no element"):
            engine.run(session, signature, inputs, ["best"])


STRINGS = [b"", b"\0", b"a\0", b"\0a\0\0", b"a\0b", "é".encode(), b"x" * 70_000 + b"\0"]


@pytest.mark.parametrize("name", ENGINES)
def test_strings_keep_their_nuls(name: str, tmp_path: Path) -> None:
    onnx_models.write_identity(tmp_path / "1", TensorProto.STRING, ["rows"])
    engine = load(name, tmp_path / "1")
    for strings in (STRINGS, STRINGS[::-1], STRINGS[:2]):
        given = np.array([*strings, None], object)[:-1]
        assert run(engine, x=given)["y"].tolist() == strings


def test_strings_that_are_not_utf8(tmp_path: Path) -> None:
    onnx_models.write_identity(tmp_path / "1", TensorProto.STRING, ["rows"])
    strings = np.array([b"\xff\x01", b"\xff\0"], object)
    with pytest.raises(InvalidRequest, match='input "x": ONNX Runtime takes strings in UTF-8'):
        run(load("onnxruntime", tmp_path / "1"), x=strings)
    assert run(load("openvino", tmp_path / "1"), x=strings)["y"].tolist() == strings.tolist()


WORD, ROW = np.array([b"word"], object), np.array([0])
# Nodes from x, strings [rows], and w, strings [rows, 2], to y.
STRING_OPS: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {
    "identity": [("Identity", "x", "y", {})],
    "two identities": [("Identity", "x", "m", {}), ("Identity", "m", "y", {})],
    "identity of moved": [("Unsqueeze", "x one", "m", {}), ("Identity", "m", "y", {})],
    "slice": [("Slice", "x row two", "y", {})],
    "strided": [("Slice", "w row two one one", "y", {})],
    "split": [("Split", "w", "y z", {"axis": 1})],
    "where": [("Where", "is x word", "y", {})],
    "equal": [("Equal", "x word", "y", {})],
    "reshape": [("Reshape", "w minus", "y", {})],
    "moved and back": [("Unsqueeze", "x one", "m", {}), ("Squeeze", "m one", "y", {})],
    "transpose": [("Transpose", "w", "y", {"perm": [1, 0]})],
    "concat": [("Concat", "x word", "y", {"axis": 0})],
    "gather": [("Gather", "w row", "y", {"axis": 1})],
    "gather, reshape": [("Gather", "w row", "m", {"axis": 1}), ("Reshape", "m minus", "y", {})],
}
STRING_OPS_SERVED = {"reshape", "moved and back", "transpose", "concat", "gather", "gather, reshape"}


@pytest.mark.parametrize("kind", STRING_OPS)
def test_ops_on_strings(kind: str, tmp_path: Path) -> None:
    """OpenVINO copies some as bytes, and crashes when both copies are freed."""
    folder = write_string_ops(tmp_path / "1", STRING_OPS[kind])
    if kind not in STRING_OPS_SERVED:
        with pytest.raises(LoadError, match=r"is of strings, which OpenVINO cannot copy there; use engine: onnxrun"):
            load("openvino", folder)
        return
    engines = [load(name, folder) for name in ENGINES]
    sessions = [engine.make_session() for engine in engines]
    for rows in (1, 3, 2, 40, 3):
        texts = np.array([[b"%d" % row * 9, b"%d" % row * 60] for row in range(rows)], object)
        inputs = {"x": texts[:, 1], "w": texts, "is": np.arange(rows) % 2 == 0}
        found, expected = (
            engine.run(session, engine.signatures()[DEFAULT_SIGNATURE], inputs, ["y"])["y"].tolist()
            for engine, session in zip(engines, sessions, strict=True)
        )
        assert found == expected


def write_string_ops(folder: Path, nodes: list[tuple[str, str, str, dict[str, Any]]]) -> Path:
    strings, flags = TensorProto.STRING, TensorProto.BOOL
    constants = {"word": WORD, "row": ROW, "one": np.array([1]), "two": np.array([2]), "minus": np.array([-1])}
    graph = helper.make_graph(
        [helper.make_node(op, given.split(), made.split(), **rest) for op, given, made, rest in nodes],
        "test",
        [
            helper.make_tensor_value_info("x", strings, ["rows"]),
            helper.make_tensor_value_info("w", strings, ["rows", 2]),
            helper.make_tensor_value_info("is", flags, ["rows"]),
        ],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    onnx.save(onnx.shape_inference.infer_shapes(model), str(folder / "model.onnx"))
    return folder


@pytest.mark.parametrize(
    ("files", "installed", "expected"),
    [
        (["saved_model.pb"], True, "tensorflow"),
        (["saved_model.pbtxt"], True, "tensorflow"),
        (["model.onnx"], True, "onnxruntime"),
        (["model.xml", "model.bin"], True, "openvino"),
        (["saved_model.pb", "model.onnx"], True, "tensorflow"),
        (["._model.onnx", ".old.onnx", "model.xml", "model.bin"], True, "openvino"),
    ],
)
def test_auto_reads_the_folder(files: list[str], installed: bool, expected: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).touch()
    assert choose_engine(tmp_path, installed=lambda engine: installed) == expected
    assert choose_engine(tmp_path, "openvino") == "openvino"


def test_auto_takes_the_engine_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert choose_engine(tmp_path, installed=lambda engine: engine == "openvino") == "openvino"
    assert choose_engine(tmp_path, installed=lambda engine: False) == "onnxruntime"


def test_folders_without_one_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no model: expected"):
        choose_engine(tmp_path)
    with pytest.raises(LoadError, match="holds no ONNX model"):
        load("onnxruntime", tmp_path)
    for name in ("a", "b"):
        onnx_models.write_scale(tmp_path / name, 1)
        (tmp_path / name / "model.onnx").rename(tmp_path / f"{name}.onnx")
    with pytest.raises(LoadError, match=r"holds 2 files \*.onnx; keep one, or name one of them model.onnx"):
        load("onnxruntime", tmp_path)
    (tmp_path / "a.onnx").rename(tmp_path / "model.onnx")
    load("onnxruntime", tmp_path)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_hidden_files_are_no_models(tmp_path: Path, engine: str) -> None:
    """macOS leaves a ._ranker.onnx beside each ranker.onnx where it copies to."""
    folder = onnx_models.write_scale(tmp_path / "1", 3)
    (folder / "model.onnx").rename(folder / "ranker.onnx")
    for name in ("._ranker.onnx", ".ranker.xml", ".DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    assert choose_engine(folder) == "onnxruntime"
    loaded = load(engine, folder)
    found = loaded.run(loaded.make_session(), loaded.signatures()["serving_default"], {"x": np.float32([2])}, ["y"])
    assert found["y"].tolist() == [6]


def test_a_missing_engine_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corelane.processor.engines.selection.is_installed", lambda engine: False)
    with pytest.raises(EngineMissing, match=r"pip install 'corelane\[openvino\]'"):
        load("openvino", tmp_path)


@pytest.mark.parametrize("name", ENGINES)
def test_options_that_an_engine_does_not_have(name: str, tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "1", 1)
    with pytest.raises(LoadError, match="op_libraries are TensorFlow's"):
        load(name, tmp_path / "1", op_libraries=("x.so",))
