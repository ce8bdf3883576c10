"""fp32, bf16 or what the outputs allow. The processor is made to say that it has bf16: oneDNN then emulates it with
AVX-512, so that what the choice rests on is real wherever that is. Elsewhere the rounding is made here."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from corelane.kernels import instruction_sets
from corelane.processor.control.choices import Precision
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.engines.onednn import best_isa, has_bf16
from corelane.processor.errors import InvalidRequest, LoadError
from corelane.processor.loading import precision
from corelane.processor.loading.precision import load_in_precision
from corelane.processor.manifest import DivergenceSettings, ModelSettings, parse_manifest
from corelane.processor.trials import samples
from corelane.processor.wire import messages, records, tensors
from corelane.processor.wire.tensor_types import Signature
from tests.support import onnx_models
from tests.support.function_engine import FunctionEngine, Inputs, Model, specs

avx512 = pytest.mark.skipif("avx512f" not in instruction_sets(), reason="oneDNN has no bf16 here, emulated or not")

_VERBOSE_NAMES = {
    "Intel AVX2": "avx2",
    "Intel AVX2 with Intel DL Boost": "avx2_vnni",
    "Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions": "avx512_core",
    "Intel AVX-512 with Intel DL Boost": "avx512_core_vnni",
    "Intel AVX-512 with Intel DL Boost and bfloat16 support": "avx512_core_bf16",
    "Intel AVX-512 with float16, Intel DL Boost and bfloat16 support": "avx512_core_fp16",
}


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "best_isa", lambda: "avx512_core_bf16")


WIDE = DivergenceSettings(relative=0.05, absolute=0.01)


def choose(
    engine: str, folder: Path, wanted: str = "auto", bound: DivergenceSettings = WIDE
) -> tuple[Precision, dict[str, np.ndarray]]:
    """The choice, and the outputs of the default signature on the first made-up inputs that it takes."""
    loaded, chosen = load_in_precision(engine, folder, EngineOptions(precision=wanted), bound, 1 << 20)
    signature = loaded.signatures()["serving_default"]
    for inputs in samples.made_up(signature):
        try:
            outputs = loaded.run(loaded.make_session(), signature, inputs, list(signature.outputs))
            break
        except InvalidRequest:
            continue
    loaded.unload()
    return chosen, outputs


SCORES = Signature(
    name="serving_default",
    inputs=specs(item=("DT_INT64", (-1,)), x=("DT_FLOAT", (-1, 4))),
    outputs=specs(score=("DT_FLOAT", (-1,))),
)
TABLE = np.random.default_rng(2).normal(-4, 1, 5000)  # logits of which most are scores of around 0.02


def score(inputs: Inputs) -> dict[str, np.ndarray]:
    item = inputs["item"]
    for value in item.tolist():
        if not 0 <= value < len(TABLE):
            raise InvalidRequest(f"indices[0] = {value} is not in [0, {len(TABLE)})")
    if len(item) != len(inputs["x"]):
        raise InvalidRequest("incompatible shapes")
    logits = TABLE[item] + 0.1 * inputs["x"].sum(1, dtype=np.float64)
    return {"score": (1 / (1 + np.exp(-logits))).astype(np.float32)}


def moved(by: Callable[[Inputs, np.ndarray], np.ndarray], model: Model = score) -> Model:
    """The model, whose scores are others in bf16."""
    return lambda inputs: {"score": by(inputs, model(inputs)["score"]).astype(np.float32)}


def rounded(_: Inputs, scores: np.ndarray) -> np.ndarray:
    return scores.astype(ml_dtypes.bfloat16)


def choice_of(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    exact: FunctionEngine,
    in_bf16: FunctionEngine,
) -> Precision:
    """What `auto` chooses between two models."""
    monkeypatch.setattr(precision, "best_isa", lambda: "avx512_core_bf16")
    engines = {"fp32": exact, "bf16": in_bf16}
    monkeypatch.setattr(precision, "load_engine", lambda _, __, options: engines[options.precision])
    return load_in_precision("openvino", folder, EngineOptions(precision="auto"), DivergenceSettings(), 1 << 20)[1]


@pytest.mark.parametrize(
    ("case", "by", "name", "why"),
    [
        ("rounded to bf16", rounded, "bf16", r"it moves outputs by up to 0\.[1-4]\d% and [\d.e-]+ on \d{4} rows"),
        ("a CTR of 0.02 by two percent", lambda _, y: y * 1.02, "fp32", r"bf16 moves outputs by up to 2\.00% and "),
        ("by half a percent", lambda _, y: y * 1.005, "bf16", r"it moves outputs by up to 0\.50% "),
        ("by nothing to speak of", lambda _, y: y + 9e-6, "bf16", r"it moves outputs by up to 0\.00% and 9e-06 on "),
        ("an id in a hundred", lambda x, y: y + 0.001 * (x["item"] % 100 == 7), "fp32", "bf16 moves outputs"),
        ("the end of the table", lambda x, y: y + 0.001 * (x["item"] > 4900), "fp32", "bf16 moves outputs"),
        ("large numbers", lambda x, y: y + 0.001 * (np.abs(x["x"]) > 15).any(1), "fp32", "bf16 moves outputs"),
        (
            "no number",
            lambda _, y: np.where(y > 0.3, np.nan, y),
            "fp32",
            "output score of signature serving_default",
        ),
        ("another order", lambda _, y: np.float32(0.02) + 0 * y, "fp32", "bf16 moves outputs"),
    ],
)
def test_a_bound_that_is_relative_and_absolute(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    by: Callable[[Inputs, np.ndarray], np.ndarray],
    name: str,
    why: str,
) -> None:
    chosen = choice_of(monkeypatch, tmp_path, FunctionEngine(SCORES, score), FunctionEngine(SCORES, moved(by)))
    assert (chosen.name, re.match(why, chosen.why) is not None) == (name, True), (case, chosen.why)
    if "rows" in chosen.why:
        assert int(re.findall(r"on (\d+) rows", chosen.why)[0]) >= precision.ROWS_MIN


def test_the_order_of_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choice_of(monkeypatch, tmp_path, FunctionEngine(SCORES, score), FunctionEngine(SCORES, moved(rounded)))
    assert re.search(r"; 0 of \d+ neighbours in rank change places", chosen.why), "rounding makes ties, and swaps none"
    shaken = moved(lambda x, y: y * (1 + 0.004 * (x["item"] % 2)))
    chosen = choice_of(monkeypatch, tmp_path, FunctionEngine(SCORES, score), FunctionEngine(SCORES, shaken))
    assert chosen.name == "bf16"
    assert re.search(r"; [1-9]\d* of \d+ neighbours in rank change places", chosen.why)


def test_fewer_rows_than_a_thousand_are_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(inputs: Inputs) -> dict[str, np.ndarray]:
        raise InvalidRequest("no")

    engine = FunctionEngine(SCORES, picky)
    chosen = choice_of(monkeypatch, tmp_path, engine, engine)
    assert chosen.name == "fp32"
    assert "of signature serving_default 0 rows can be compared, and 1000 should be; record requests" in chosen.why
    # Every signature is looked at, not the default alone.
    other = Signature(name="other", inputs=SCORES.inputs, outputs=SCORES.outputs)
    exact = FunctionEngine(SCORES, score, other=(other, score))
    one_moved = FunctionEngine(SCORES, score, other=(other, moved(lambda _, y: y * 1.02)))
    assert choice_of(monkeypatch, tmp_path, exact, exact).name == "bf16"
    assert choice_of(monkeypatch, tmp_path, exact, one_moved).name == "fp32"


def test_a_fixed_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Signature(name="serving_default", inputs=specs(x=("DT_FLOAT", (4,))), outputs=specs(y=("DT_FLOAT", ())))
    engine = FunctionEngine(fixed, lambda inputs: {"y": inputs["x"].sum(dtype=np.float32)})
    chosen = choice_of(monkeypatch, tmp_path, engine, engine)
    assert (chosen.name, "on 1000 rows" in chosen.why) == ("bf16", True)


def test_fp32_is_the_default() -> None:
    parsed = parse_manifest("models: [{name: m, path: p}]", source="m.yaml", base=Path("/base")).models[0]
    assert (parsed.precision, ModelSettings(name="", path=Path()).precision) == ("fp32", "fp32")


@avx512
@pytest.mark.usefixtures("with_bf16")
@pytest.mark.parametrize("name", ["tower", "keras", "ref"])
def test_auto_takes_bf16_within_the_divergence(tensorflow_models: Path, name: str) -> None:
    folder = tensorflow_models / name / "1"
    exact, expected = choose("tensorflow", folder, "fp32")
    chosen, outputs = choose("tensorflow", folder)
    assert (exact.name, chosen.name) == ("fp32", "bf16")
    assert chosen.why.startswith("it moves outputs by up to ")
    difference = np.abs(outputs["score"] - expected["score"]).max()
    assert 0 < difference < 0.01, "bf16 rounds"
    refused, same = choose("tensorflow", folder, bound=DivergenceSettings(relative=0, absolute=1e-7))
    assert refused.name == "fp32"
    assert "(max_divergence {relative: 0, absolute: 1e-07})" in refused.why
    np.testing.assert_array_equal(same["score"], expected["score"])


@avx512
@pytest.mark.usefixtures("with_bf16")
@pytest.mark.parametrize(
    ("name", "untried"),
    [
        ("tf2", None),
        ("types", None),
        ("branches", None),
        ("picky", None),
        ("tf1", "of signature classify 0 rows can be compared"),  # serialized examples, which nothing can make up
        ("keeper", "changes state"),
    ],
)
def test_every_kind_of_graph_is_frozen_or_told_why_not(tensorflow_models: Path, name: str, untried: str | None) -> None:
    chosen, _ = choose("tensorflow", tensorflow_models / name / "1")
    assert chosen.name == ("bf16" if untried is None else "fp32"), chosen.why
    assert (untried or "it moves outputs") in chosen.why


@avx512
def test_assertions_and_chosen_outputs_stay(tensorflow_models: Path) -> None:
    loaded = load_engine("tensorflow", tensorflow_models / "tower/1", EngineOptions(precision="bf16"))
    signature, session = loaded.signatures()["serving_default"], loaded.make_session()
    inputs = {"word": np.array([b"v1", b"?"], object), "x": np.ones((2, 8), np.float32)}
    outputs = loaded.run(session, signature, inputs, ["rows", "x"])
    assert outputs["rows"].tolist() == [2]
    np.testing.assert_array_equal(outputs["x"], inputs["x"])
    loaded.unload()
    loaded = load_engine("tensorflow", tensorflow_models / "picky/1", EngineOptions(precision="bf16"))
    with pytest.raises(InvalidRequest, match="negative numbers"):
        loaded.run(
            loaded.make_session(), loaded.signatures()["serving_default"], {"x": np.full(1, -1.0, np.float32)}, ["y"]
        )
    loaded.unload()


@avx512
@pytest.mark.usefixtures("with_bf16")
def test_recorded_requests_decide(tensorflow_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    _copy(tensorflow_models / "tower/1", folder)
    log = messages.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "tower"
    for name, array in {"x": np.full((1, 8), 1e4, np.float32), "word": np.array([b"a"], np.object_)}.items():
        tensors.encode(array, request.inputs[name], as_content=True)
    (folder / samples.RECORDED).parent.mkdir()
    (folder / samples.RECORDED).write_bytes(records.to_record(log.SerializeToString()) * 3)
    bound = DivergenceSettings(relative=0, absolute=1)
    chosen, _ = choose("tensorflow", folder, bound=bound)
    assert chosen.name == "fp32", "large numbers differ by more"
    assert chosen.why.startswith("bf16 moves outputs by up to ")
    (folder / samples.RECORDED).write_bytes(b"no TFRecord, though as long as the head of one")
    chosen, _ = choose("tensorflow", folder, bound=bound)
    assert chosen.name == "bf16", "then made-up requests decide"


@pytest.mark.usefixtures("with_bf16")
def test_openvino_and_onnxruntime(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "1", 3)
    assert choose("openvino", tmp_path / "1")[0].name == "bf16"
    assert choose("openvino", tmp_path / "1", "bf16")[0].why == "the manifest says so"
    assert choose("onnxruntime", tmp_path / "1")[0].why == "engine onnxruntime has no bf16"
    with pytest.raises(LoadError, match="precision: bf16 is not available for engine onnxruntime"):
        choose("onnxruntime", tmp_path / "1", "bf16")


def test_a_processor_without_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "best_isa", lambda: "avx512_core_vnni")
    onnx_models.write_scale(tmp_path / "1", 3)
    chosen, _ = choose("openvino", tmp_path / "1")
    assert (chosen.name, chosen.why) == ("fp32", "the processor has no bf16 (avx512_core_vnni)")
    for engine in ("openvino", "tensorflow"):
        with pytest.raises(LoadError, match="needs a processor with avx512_bf16 or amx_bf16, not avx512_core_vnni"):
            choose(engine, tmp_path / "1", "bf16")


def test_isa_by_instruction_sets() -> None:
    core = {"avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
    sapphire = core | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"}
    assert best_isa(set(), {}) == "none"
    assert best_isa({"avx2", "avx_vnni"}, {}) == "avx2_vnni"
    assert best_isa(core, {}) == "avx512_core"
    assert best_isa(core | {"avx512_bf16"}, {}) == "avx512_core", "a level needs all below it"
    assert best_isa(core | {"avx512_vnni", "avx512_bf16"}, {}) == "avx512_core_bf16"
    assert best_isa(sapphire, {}) == "avx512_core_amx"
    assert best_isa(sapphire | {"amx_fp16"}, {}) == "avx512_core_amx_fp16"
    assert best_isa(sapphire, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}) == "avx512_core_vnni"
    assert [has_bf16(isa) for isa in ("none", "avx512_core_vnni", "avx512_core_bf16", "avx512_core_amx")] == [
        False,
        False,
        True,
        True,
    ]


def test_isa_is_what_onednn_itself_says(tensorflow_models: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from corelane.processor.engines import EngineOptions, load_engine\n"
        "load_engine('tensorflow', Path(sys.argv[1]), EngineOptions())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tensorflow_models / "tower/1")],
        env={"ONEDNN_VERBOSE": "1", "TF_ENABLE_ONEDNN_OPTS": "1", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    said = next(line.split("isa:")[1] for line in run.stdout.splitlines() if ",cpu,isa:" in line)
    if said in _VERBOSE_NAMES:
        assert best_isa() == _VERBOSE_NAMES[said]
    else:
        assert best_isa().startswith("avx512_core_amx") == ("AMX" in said)


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(records.to_record(b"one") + records.to_record(b""))
    assert list(records.read(path)) == [b"one", b""]
    whole = path.read_bytes()
    for broken, message in (
        (whole[:-1], "ends within"),
        (whole[:15], "ends within"),
        (whole[:5], "ends within"),
        (b"\xff" + whole[1:], "no TFRecord file"),
        (whole.replace(b"one", b"two"), "record is damaged"),
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=message):
            list(records.read(path))


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
