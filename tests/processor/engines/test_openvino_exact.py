"""Engine `openvino` answers as ONNX Runtime does, or says that it cannot: every op here, every type, extreme values."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import openvino.opset13 as ops
import pytest
from onnx import TensorProto, helper, numpy_helper

from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.engine import Engine
from corelane.processor.errors import InvalidRequest, LoadError
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE
from tests.support import onnx_models

INT_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOAT_TYPES = ("float16", "float32", "float64")
ROWS = 12
TABLE = np.arange(3 * ROWS, dtype=np.float32).reshape(ROWS, 3)
ENDS = (2**7, 2**8, 2**15, 2**16, 2**23, 2**24, 2**31, 2**32, 2**40, 2**53, 2**63, 2**64)
TIMES = (1700000000123, 1700000000456)


def extremes(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        ends = np.finfo(kind)
        numbers = [0.0, -0.0, 1.0, -1.5, ends.max, ends.min, ends.tiny, ends.smallest_subnormal, np.inf, -np.inf]
        return np.array([*numbers, min(2**24 + 1, float(ends.max)), 0.1, 2.5, -2.5, 3.0], kind)
    info = np.iinfo(kind)
    near = {sign * (end + more) for end in ENDS for more in (-1, 0, 1) for sign in (-1, 1)}
    numbers = {*range(-ROWS - 1, ROWS + 2), *near, *TIMES, info.min, info.max, info.min + 1}
    return np.array(sorted(number for number in numbers if info.min <= number <= info.max), kind)


def value(name: str, dtype: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


Nodes = list[tuple[Any, ...]]  # (op, inputs, output, attributes)


def write(folder: Path, nodes: Nodes, dtype: str, constants: dict[str, np.ndarray], opset: int = 17) -> Path:
    """A model of x [rows] to y, of whatever type."""
    made = [
        helper.make_node(op, inputs.split(), [out], **(rest[0] if rest else {})) for op, inputs, out, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "test",
        [value("x", dtype, ["rows"])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    folder.mkdir(parents=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(folder / "model.onnx"))
    return folder


def load(engine: str, folder: Path, **options: Any) -> Engine:
    return load_engine(engine, folder, EngineOptions(**options))


def answer(engine: Engine, **inputs: np.ndarray) -> np.ndarray | None:
    """The first output; None if the values are refused."""
    signature = engine.signatures()[DEFAULT_SIGNATURE]
    try:
        return engine.run(engine.make_session(), signature, inputs, list(signature.outputs))[
            next(iter(signature.outputs))
        ]
    except InvalidRequest:
        return None


def requests(dtype: str) -> Iterator[np.ndarray]:
    """Each value among small ones, then each by itself, then those that may stand together."""
    numbers = extremes(dtype)
    for number in numbers:
        yield np.array([number, 1, 2, number], numbers.dtype)
        yield np.array([number], numbers.dtype)
    yield np.array([], numbers.dtype)


def c(*values: Any) -> Callable[[str], np.ndarray]:
    return lambda dtype: np.array(values if len(values) > 1 else values[0], dtype)


def fixed(array: Any) -> Callable[[str], np.ndarray]:
    return lambda dtype: np.asarray(array)


FIRST = {"axis": fixed([1])}
ROWS_OF = {"table": fixed(TABLE)}
Constants = dict[str, Callable[[str], np.ndarray]]
# Of a type: nodes from x to y, and constants.
MODELS: dict[str, tuple[Nodes, Constants]] = {
    "as it is": ([("Identity", "x", "y")], {}),
    "moved": ([("Unsqueeze", "x axis", "y")], FIRST),
    "reversed": (
        [("Slice", "x begin end axis step", "y")],
        {"begin": fixed([-1]), "end": fixed([-(2**63)]), "axis": fixed([0]), "step": fixed([-1])},
    ),
    "twice": ([("Concat", "x x", "y", {"axis": 0})], {}),
    "plus one": ([("Add", "x c", "y")], {"c": c(1)}),
    "minus one": ([("Sub", "x c", "y")], {"c": c(1)}),
    "times seven": ([("Mul", "x c", "y")], {"c": c(7)}),
    "divided": ([("Div", "x c", "y")], {"c": c(7)}),
    "modulo": ([("Mod", "x c", "y")], {"c": c(100)}),
    "remainder": ([("Mod", "x c", "y", {"fmod": 1})], {"c": c(7)}),
    "at least": ([("Max", "x c", "y")], {"c": c(5)}),
    "at most": ([("Min", "x c", "y")], {"c": c(5)}),
    "clip": ([("Clip", "x c d", "y")], {"c": c(0), "d": c(ROWS - 1)}),
    "absolute": ([("Abs", "x", "y")], {}),
    "negative": ([("Neg", "x", "y")], {}),
    "sign": ([("Sign", "x", "y")], {}),
    "equal": ([("Equal", "x c", "y")], {"c": c(100)}),
    "less": ([("Less", "x c", "y")], {"c": c(100)}),
    "equal, huge": ([("Equal", "x c", "y")], {"c": lambda dtype: np.array(extremes(dtype)[-2], dtype)}),
    "where": ([("Less", "x c", "m"), ("Where", "m x c", "y")], {"c": c(100)}),
    "sum": ([("ReduceSum", "x", "y")], {}),
    "largest": ([("ReduceMax", "x", "y")], {}),
    "running sum": ([("CumSum", "x axis", "y")], {"axis": fixed(0)}),
    "best": ([("ArgMax", "x", "y")], {}),
    "last": ([("Gather", "x c", "y")], {"c": fixed(-1)}),
    "second": ([("Gather", "x c", "y")], {"c": fixed(1)}),
    "last but the first": (
        [("Slice", "x one many", "m"), ("Gather", "m c", "y")],
        {"one": fixed([1]), "many": fixed([99]), "c": fixed(-1)},
    ),
    "to floats": ([("Cast", "x", "y", {"to": TensorProto.FLOAT})], {}),
    "to floats, moved": ([("Unsqueeze", "x axis", "m"), ("Cast", "m", "y", {"to": TensorProto.FLOAT})], FIRST),
    "to int64": ([("Cast", "x", "y", {"to": TensorProto.INT64})], {}),
    "to int32": ([("Cast", "x", "y", {"to": TensorProto.INT32})], {}),
    "to int8": ([("Cast", "x", "y", {"to": TensorProto.INT8})], {}),
    "to bool": ([("Cast", "x", "y", {"to": TensorProto.BOOL})], {}),
    "to float64": ([("Cast", "x", "y", {"to": TensorProto.DOUBLE})], {}),
    "one hot": (
        [("OneHot", "x depth values", "y")],
        {"depth": fixed(5), "values": fixed(np.array([0.5, 2.0], np.float32))},
    ),
    "rows": ([("Gather", "table x", "y")], ROWS_OF),
    "rows of columns": (
        [("Unsqueeze", "x axis", "m"), ("Gather", "table m", "y", {"axis": 1})],
        {"table": fixed(TABLE.T), **FIRST},
    ),
    "elements": ([("GatherElements", "table x", "y")], {"table": fixed(TABLE[:, 0])}),
    "places": ([("Unsqueeze", "x axis", "m"), ("GatherND", "table m", "y")], {**ROWS_OF, **FIRST}),
    "scattered": (
        [("ScatterElements", "table x zero", "y")],
        {"table": fixed(TABLE[:, 0]), "zero": fixed(np.zeros(1, np.float32))},
    ),
    "modulo, then rows": ([("Mod", "x c", "m"), ("Gather", "table m", "y")], {"c": c(ROWS), **ROWS_OF}),
    "clip, then rows": (
        [("Clip", "x c d", "m"), ("Gather", "table m", "y")],
        {"c": c(0), "d": c(ROWS - 1), **ROWS_OF},
    ),
    "plus one, then rows": ([("Add", "x c", "m"), ("Gather", "table m", "y")], {"c": c(1), **ROWS_OF}),
    "times, modulo, then rows": (
        [("Mul", "x k", "n"), ("Mod", "n c", "m"), ("Gather", "table m", "y")],
        {"k": c(31), "c": c(ROWS), **ROWS_OF},
    ),
    "hours since": (
        [("Sub", "c x", "m"), ("Cast", "m", "n", {"to": TensorProto.FLOAT}), ("Div", "n h", "y")],
        {"c": c(100), "h": fixed(np.array(3.6e6, np.float32))},
    ),
    "as a float, then rows": (
        [
            ("Cast", "x", "m", {"to": TensorProto.FLOAT}),
            ("Cast", "m", "n", {"to": TensorProto.INT64}),
            ("Gather", "table n", "y"),
        ],
        ROWS_OF,
    ),
    "rows of rows": (
        [("Gather", "ids x", "m"), ("Gather", "table m", "y")],
        {"ids": fixed(np.arange(ROWS - 1, -1, -1)), **ROWS_OF},
    ),
}
# Models that answer at least so many requests of int64, out of those made here.
ANSWERED = {
    "as it is": 100,
    "moved": 80,
    "modulo": 60,
    "modulo, then rows": 60,
    "rows": 40,
    "to floats": 100,
    "equal": 60,
}


def differs(found: np.ndarray, expected: np.ndarray | None) -> bool:
    if expected is None or found.dtype != expected.dtype or found.shape != expected.shape:
        return True
    if found.dtype.kind != "f":
        return not np.array_equal(found, expected)
    # Of infinities each library makes something else.
    finite = np.isfinite(expected)
    left, right = found[finite].astype(np.float64), expected[finite].astype(np.float64)
    return not np.allclose(left, right, rtol=1e-6 if found.dtype == np.float32 else 1e-3, atol=0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [*INT_TYPES, *FLOAT_TYPES])
def test_as_onnx_runtime_answers(kind: str, dtype: str, tmp_path: Path) -> None:
    nodes, constants = MODELS[kind]
    folder = write(tmp_path / "1", nodes, dtype, {name: make(dtype) for name, make in constants.items()})
    try:
        reference = load("onnxruntime", folder)
    except LoadError:
        pytest.skip("ONNX has no such op of this type")
    try:
        engine = load("openvino", folder)
    except LoadError as error:
        assert "use engine: onnxruntime" in str(error) or "OpenVINO can load" in str(error)
        assert dtype != "int64" or kind not in ANSWERED
        return
    wrong = []
    answered = 0
    for x in requests(dtype):
        found = answer(engine, x=x)
        answered += found is not None
        if found is not None and differs(found, expected := answer(reference, x=x)):
            wrong.append((x.tolist(), found.tolist(), None if expected is None else expected.tolist()))
    assert wrong == []
    assert dtype != "int64" or answered >= ANSWERED.get(kind, 0)


@pytest.mark.parametrize("number", [ROWS, -ROWS - 1, 2**31, 2**40, 2**63 - 1])
def test_a_row_that_is_not_there_is_told_of(number: int, tmp_path: Path) -> None:
    engine = load("openvino", write(tmp_path / "1", [("Gather", "table x", "y")], "int64", {"table": TABLE}))
    signature, session = engine.signatures()[DEFAULT_SIGNATURE], engine.make_session()
    with pytest.raises(InvalidRequest) as refused:
        engine.run(session, signature, {"x": np.array([3, number])}, ["y"])
    assert str(refused.value) == (
        f'input "x" holds {number}, outside [-12, 11]: Gather (y) looks it up among 12 (engine openvino)'
    )
    found = engine.run(session, signature, {"x": np.array([3, -1])}, ["y"])["y"]
    assert found.tolist() == [TABLE[3].tolist(), TABLE[-1].tolist()]


def test_many_ids_are_checked_where_they_stand(tmp_path: Path) -> None:
    """Numbers from 16 KiB on are passed in place."""
    engine = load("openvino", write(tmp_path / "1", [("Gather", "table x", "y")], "int64", {"table": TABLE}))
    ids = np.arange(5000) % ROWS
    assert answer(engine, x=ids) is not None
    ids[4321] = ROWS
    assert answer(engine, x=ids) is None


def save(folder: Path, output: Any, inputs: list[Any], *sinks: Any) -> Path:
    folder.mkdir()
    openvino.save_model(openvino.Model([ops.result(output)], list(sinks), inputs, "test"), str(folder / "model.xml"))
    return folder


def test_state_is_refused(tmp_path: Path) -> None:
    """One caller's values are not the next one's."""
    x = ops.parameter([2], np.float32)
    before = ops.read_value(ops.constant(np.zeros(2, np.float32)), "kept")
    sink = ops.assign(ops.add(before, x), "kept")
    with pytest.raises(LoadError, match=r"ReadValue .* keeps one request's values for the next"):
        load("openvino", save(tmp_path / "1", ops.add(before, x), [x], sink))


def test_what_openvino_alone_has(tmp_path: Path) -> None:
    """Ops that ONNX has not: they read other memory, or make rows up."""
    x, ids = ops.parameter([-1, -1], np.float32), ops.parameter([-1, 1], np.int64)
    paired = ops.gather(x, ids, ops.constant(np.int64(1)), 1)
    with pytest.raises(LoadError, match="does not check that there are as many of both"):
        load("openvino", save(tmp_path / "1", paired, [x, ids]))
    bag = ops.embedding_bag_packed_sum(ops.constant(TABLE), ids)
    engine = load("openvino", save(tmp_path / "2", bag, [ids]))
    (name,) = engine.signatures()[DEFAULT_SIGNATURE].inputs
    assert answer(engine, **{name: np.array([[3], [11]])}) is not None
    assert answer(engine, **{name: np.array([[-1]])}) is None
    assert answer(engine, **{name: np.array([[2**32 + 1]])}) is None


def test_a_loop_over_integers_is_refused(tmp_path: Path) -> None:
    onnx_models.write_slow(tmp_path / "1")
    with pytest.raises(LoadError, match="is exact up to 16777216 only"):
        load("openvino", tmp_path / "1")


def test_weights_that_a_model_compresses_are_not_multiplied_as_bytes(tmp_path: Path) -> None:
    """The CPU plugin would quantize what they are multiplied by, too."""
    source = np.random.default_rng(1)
    weights = source.integers(-128, 127, (64, 256)).astype(np.int8)
    scale = source.random((64, 1)).astype(np.float32)
    x = ops.parameter([-1, 256], np.float32)
    rows = ops.multiply(ops.convert(ops.constant(weights), np.float32), ops.constant(scale))
    engine = load("openvino", save(tmp_path / "1", ops.matmul(x, rows, False, True), [x]))
    given = source.standard_normal((40, 256)).astype(np.float32)
    (name,) = engine.signatures()[DEFAULT_SIGNATURE].inputs
    expected = given.astype(np.float64) @ (weights * scale.astype(np.float64)).T
    np.testing.assert_allclose(answer(engine, **{name: given}), expected, atol=1e-5 * np.abs(expected).max())


OFFSETS = np.array([0, 5, 9])  # of fields with 5, 4 and 3 ids, in one table of ROWS


def from_the_end(ids: Any, form: str) -> Any:
    """Keras's and NumPy's negative ids."""
    zero, size = ops.constant(np.array([[0]])), ops.constant(np.array([[ROWS]]))
    is_negative = ops.greater(zero, ids) if form == "turned" else ops.less(ids, zero)
    return ops.select(is_negative, ops.add(size, ids) if form == "turned" else ops.add(ids, size), ids)


def columns_model(folder: Path, form: str) -> Path:
    ids = ops.parameter([-1, 3], np.int64, "ids")
    ids.output(0).set_names({"ids"})
    rows: Any = ids
    if form == "subtracted":
        rows = ops.subtract(rows, ops.constant(-OFFSETS[None]))
    elif form == "converted":
        rows = ops.add(ops.convert(rows, np.int32), ops.convert(ops.constant(OFFSETS), np.int32))
    elif form == "reshaped":
        rows = ops.reshape(ops.add(ops.unsqueeze(rows, 0), ops.constant(OFFSETS)), [-1], False)
    elif form == "twice":
        rows = ops.subtract(ops.add(ops.add(rows, ops.constant(np.int64(7))), ops.constant(OFFSETS)), np.int64(7))
    else:
        rows = ops.add(ops.constant(OFFSETS[None]), rows)
    if form in ("from the end", "turned"):
        rows = from_the_end(rows, form)
    found = ops.gather(ops.constant(TABLE), rows, ops.constant(np.int64(0)))
    return save(folder, ops.reshape(found, [-1, 3, 3], False), [ids])


@pytest.mark.parametrize("form", ["plain", "subtracted", "converted", "reshaped", "twice", "from the end", "turned"])
def test_ids_with_an_offset_for_each_column(form: str, tmp_path: Path) -> None:
    """Exactly those requests are answered whose places are in the table."""
    engine = load("openvino", columns_model(tmp_path / "1", form))
    numbers = range(-2 * ROWS - 2, 2 * ROWS + 2)
    every = [[number if column == place else 0 for place in range(3)] for column in range(3) for number in numbers]
    for row in [*every, [-1, -6, 0], [11, 6, 2], [2**31, 0, 0], [0, 0, -(2**63)], [0, 2**63 - 1, 0]]:
        rows = [number + int(offset) for number, offset in zip(row, OFFSETS, strict=True)]
        # OpenVINO's own Gather counts back, too.
        are_there = all(-ROWS <= place < ROWS for place in rows)
        for ids in ([row], [[0, 0, 0], row, [0, 0, 0]]):
            found = answer(engine, ids=np.array(ids))
            assert (found is not None) == are_there, (row, ids)
            if found is not None:
                assert found[len(ids) // 2].tolist() == TABLE[rows].tolist()


def test_an_id_out_of_its_column_is_told_of(tmp_path: Path) -> None:
    engine = load("openvino", columns_model(tmp_path / "1", "from the end"))
    signature, session = engine.signatures()[DEFAULT_SIGNATURE], engine.make_session()
    with pytest.raises(InvalidRequest) as refused:
        engine.run(session, signature, {"ids": np.array([[11, 0, 0], [0, 7, 0]])}, list(signature.outputs))
    assert str(refused.value).startswith('input "ids" holds 7 in column 1 (of 0 to 2), outside [-17, 6]: Gather (')
    assert str(refused.value).endswith("looks it up among 12 (engine openvino)")
    many = np.tile(np.array([[11, 6, 2]]), (2000, 1))  # enough to be checked where they stand
    assert answer(engine, ids=many) is not None
    many[1500, 2] = 3
    assert answer(engine, ids=many) is None


@pytest.mark.parametrize("kind", ["transposed", "other size", "by row"])
def test_columns_that_are_not_the_last_axis(kind: str, tmp_path: Path) -> None:
    """A transposed row has its offsets elsewhere; nothing is answered wrongly."""
    ids = ops.parameter([3, 3] if kind == "by row" else [-1, 3], np.int64, "ids")
    ids.output(0).set_names({"ids"})
    rows = ops.add(ids, ops.constant(OFFSETS[:, None] if kind == "by row" else OFFSETS))
    if kind == "transposed":
        rows = ops.transpose(rows, [1, 0])
    if kind == "other size":  # counts from the end of a longer table than there is
        size = ops.constant(np.int64(ROWS + 5))
        rows = ops.select(ops.less(rows, ops.constant(np.int64(0))), ops.add(rows, size), rows)
    found = ops.gather(ops.constant(TABLE), rows, ops.constant(np.int64(0)))
    try:
        engine = load("openvino", save(tmp_path / "1", found, [ids]))
    except LoadError as error:
        assert "looks up, among 12, what may be any of" in str(error)
        assert kind != "other size"
        return
    assert answer(engine, ids=np.array([[11, 6, 2]] * 3)) is not None
    assert answer(engine, ids=np.array([[-1, 0, 0]])) is None


def test_an_embedding_of_keras(made_by: Callable[[str], Path]) -> None:
    """Over ids with the offsets and the table that the other tests have."""
    engine = load("openvino", made_by("keras_ids") / "1")
    for ids in ([[4, 3, 2]], [[0, 0, 0], [-1, -6, -10]], [[-12, -17, -21]], [[11, 6, 2]]):
        found = answer(engine, ids=np.array(ids))
        assert found is not None
        assert found.tolist() == TABLE[np.array(ids) + OFFSETS].tolist()
    for row in ([12, 0, 0], [-13, 0, 0], [0, 7, 0], [0, -18, 0], [0, 0, 3], [0, 0, -22]):
        assert answer(engine, ids=np.array([row])) is None


HALVES = np.array(0.5, np.float32)
SEVEN = np.array(7, np.float32)
EIGHT = np.array(8, np.float32)
MULTIPLES = np.concatenate([np.arange(-50, 50) * size for size in (1, 7, 8, 41)] + [[1.7e9, 2.5, -0.5]]).astype("f")
# Of floats, x to y: steps, which one bit may move.
REFUSED_STEPS: dict[str, Nodes] = {
    "floor": [("Div", "x seven", "m"), ("Floor", "m", "y")],
    "ceiling": [("Div", "x seven", "m"), ("Ceil", "m", "y")],
    "round": [("Div", "x seven", "m"), ("Round", "m", "y")],
    "sign": [("Div", "x seven", "m"), ("Sub", "m one", "n"), ("Sign", "n", "y")],
    "to int": [("Div", "x seven", "m"), ("Cast", "m", "y", {"to": TensorProto.INT32})],
    "less": [("Div", "x seven", "m"), ("Less", "m one", "y")],
    "equal": [("Div", "x seven", "m"), ("Unsqueeze", "m axis", "n"), ("Equal", "n one", "y")],
    "where": [("Div", "x seven", "m"), ("Greater", "m one", "n"), ("Where", "n x one", "y")],
    "after more": [("Div", "x seven", "m"), ("Add", "m half", "n"), ("Relu", "n", "o"), ("Floor", "o", "y")],
    "remainder": [("Mod", "x seven", "y", {"fmod": 1})],
    "of a sum": [("Add", "x half", "m"), ("Floor", "m", "y")],
    "of a product": [("Mul", "x half", "m"), ("Mul", "m seven", "n"), ("Floor", "n", "y")],
    "by another input": [("Div", "one x", "m"), ("GreaterOrEqual", "m half", "y")],
}
SERVED_STEPS: dict[str, Nodes] = {
    "floor": [("Floor", "x", "y")],
    "moved": [("Unsqueeze", "x axis", "m"), ("Round", "m", "y")],
    "halved": [("Div", "x eight", "m"), ("Floor", "m", "y")],
    "less": [("Less", "x seven", "y")],
    "compared sum": [("Add", "x half", "m"), ("Less", "m seven", "y")],
    "whole": [("Floor", "x", "m"), ("Relu", "m", "n"), ("Ceil", "n", "y")],
    "quotient": [("Div", "x seven", "y")],
    "halved, compared": [("Div", "x eight", "m"), ("Less", "m one", "y")],
}
STEP_CONSTANTS = {"seven": SEVEN, "eight": EIGHT, "half": HALVES, "one": np.array(1, np.float32), "axis": np.array([1])}


@pytest.mark.parametrize("kind", REFUSED_STEPS)
def test_steps_that_one_bit_may_move_are_refused(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "1", REFUSED_STEPS[kind], "float32", STEP_CONSTANTS)
    with pytest.raises(LoadError, match=r"(OpenVINO may have otherwise|not exact on floats|may be NaN).*onnxruntime"):
        load("openvino", folder)


@pytest.mark.parametrize("kind", SERVED_STEPS)
def test_steps_of_what_is_exact(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "1", SERVED_STEPS[kind], "float32", STEP_CONSTANTS)
    engine, reference = load("openvino", folder), load("onnxruntime", folder)
    for x in (MULTIPLES, MULTIPLES[:1], MULTIPLES[5:12]):
        found, expected = answer(engine, x=x), answer(reference, x=x)
        assert found is not None and not differs(found, expected)


def test_steps_in_a_loop(tmp_path: Path) -> None:
    """What one run hands to the next is computed."""
    value, scale = ops.parameter([-1], np.float32), ops.constant(np.float32(0.1))
    body = openvino.Model([ops.multiply(ops.floor(value), scale), ops.constant(np.array(True))], [value], "body")
    x = ops.parameter([-1], np.float32)
    loop = ops.loop(ops.constant(np.int32(3)), ops.constant(np.array(True)))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 1])
    loop.set_merged_input(body.get_parameters()[0], x.output(0), body.get_results()[0].output(0))
    made = loop.get_iter_value(body.get_results()[0].output(0), -1)
    with pytest.raises(LoadError, match=r"Floor .* rounds what was computed"):
        load("openvino", save(tmp_path / "1", made, [x]))


@pytest.mark.parametrize(("kind", "dtype"), [("u8", np.uint8), ("f32", np.float32), ("i64", np.int64)])
def test_a_convert_to_the_same_type_that_is_all_there_is(kind: str, dtype: type, tmp_path: Path) -> None:
    """OpenVINO would write the elements of a request into memory of the one before."""
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([-1], dtype, name="x")
    model = openvino.Model([ops.unsqueeze(ops.convert(x, kind), np.array([0]))], [x], "m")
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    with pytest.raises(LoadError, match=r"through a Convert to its own type.*onnxruntime"):
        load_engine("openvino", tmp_path, EngineOptions())
