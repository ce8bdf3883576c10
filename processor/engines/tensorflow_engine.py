"""TensorFlow SavedModels: TF2 functions and TF1 graphs, by their signatures, through the C API in TensorFlow's wheel.

TensorFlow's Python is never imported: a request goes from bytes to bytes in C++, on its session's thread alone
(`inter_op_thread_pool = -1`), without Python's lock. The sessions share the variables and no thread pool.
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from corelane.processor._native import TensorFlowModel
from corelane.processor.engines.engine import EngineOptions, NativeEngine
from corelane.processor.engines.tensorflow_frozen import add_frozen_graph
from corelane.processor.engines.tensorflow_signatures import effects_examined, ops_of, rows_examined
from corelane.processor.errors import LoadError, RequestError
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import NUMPY_TYPES, SERVE_TAGS, Signature, TensorSpec, generated_inputs

_logger = logging.getLogger(__name__)

_INIT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
_BYTES_MAX = 2**31 - 1
_SPARSE, _RAGGED = 1, 3  # TypeSpecProto.TypeSpecClass
# TensorFlow's executor without bookkeeping for other threads: less CPU a run (ARCHITECTURE.md has the figures).
_DEFAULT_OPTIONS = EngineOptions()
_SINGLE_THREADED = "SINGLE_THREADED_EXECUTOR"
# RunOptions{inter_op_thread_pool: -1}: the caller's thread runs the whole graph.
_CALLERS_THREAD = b"\x18" + b"\xff" * 9 + b"\x01"


class TensorFlowEngine(NativeEngine):
    name = "tensorflow"
    any_shape = True

    def __init__(
        self, model: TensorFlowModel, signatures: dict[str, Signature], unserved: Mapping[str, str] | None = None
    ) -> None:
        self.model = model
        self._signatures = signatures
        self.unserved = unserved or {}

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "TensorFlowEngine":
        config = messages.ConfigProto(
            intra_op_parallelism_threads=options.threads_per_session,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        config.experimental.executor_type = _SINGLE_THREADED
        frozen = options.precision == "bf16"
        if frozen:
            rewrites = config.graph_options.rewrite_options
            rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON

        def open_with(config: Any) -> "TensorFlowEngine":
            return cls.open(folder, config.SerializeToString(), _CALLERS_THREAD, options, frozen=frozen)

        try:
            engine = open_with(config)
        except LoadError as error:
            if not _is_of_executor(error):
                raise
        else:
            if engine._has_its_executor():
                return engine
            engine.unload()
        _logger.info("the graph has branches, loops or references, which TensorFlow's lighter executor cannot run")
        config.ClearField("experimental")
        return open_with(config)

    @classmethod
    def open(
        cls,
        folder: Path,
        config: bytes,
        run_options: bytes,
        options: EngineOptions = _DEFAULT_OPTIONS,
        *,
        frozen: bool = False,
    ) -> "TensorFlowEngine":
        """With a serialized ConfigProto and RunOptions; empty ones are TensorFlow's defaults. `frozen`: requests run a
        copy of the graph in which dense variables are constants."""
        model, parsed, signatures = open_saved_model(
            folder, options.op_libraries, config, run_options, options.saved_model_tags
        )
        outputs = sorted({spec.engine_name for signature in signatures.values() for spec in signature.outputs.values()})
        if any(signature.effect for signature in signatures.values()):
            # What a run leaves behind may be strings of its request.
            model.copy_strings()
        moved = add_frozen_graph(model, parsed.graph_def, outputs) if frozen else {}
        if options.batching:
            signatures = rows_examined(parsed.graph_def, ops_of(model), signatures)
        for name, signature in signatures.items():
            outputs_of = _slots(signature.outputs, moved)
            rows_apart = not signature.joins_rows
            if not model.add_signature(name, _slots(signature.inputs), outputs_of, rows_apart=rows_apart):
                raise LoadError(f"{folder}: signature {name} names a tensor that the graph does not have")
        return cls(model, signatures, unserved_signatures(parsed.signature_def))

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def _has_its_executor(self) -> bool:
        """Whether the chosen executor can run the graph: TensorFlow says so when a signature first runs. Of one that
        nobody but a client may run, it is not known."""
        session = self.make_session()
        for signature in self._signatures.values():
            if signature.effect:
                return False
            try:
                self.run(session, signature, generated_inputs(signature), list(signature.outputs))
            except RequestError as error:
                if _is_of_executor(error):
                    return False
        return True

    def unload(self) -> None:
        del self.model


def open_saved_model(
    folder: Path,
    op_libraries: Sequence[str] = (),
    config: bytes = b"",
    run_options: bytes = b"",
    tags: Sequence[str] = SERVE_TAGS,
) -> tuple[TensorFlowModel, Any, dict[str, Signature]]:
    """The model, its MetaGraphDef (the GraphDef inside is bytes) and its signatures, which are not yet added to it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Else oneDNN's arena keeps the most that it ever had.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    try:
        model, meta_graph = TensorFlowModel.load(
            str(_library()), str(folder), list(tags), config, run_options, list(op_libraries)
        )
    except RuntimeError as error:
        _check_tags(folder, tags)
        raise LoadError(f"{folder} is not a SavedModel that TensorFlow can load: {error}") from error
    parsed = messages.MetaGraphDef.FromString(meta_graph)
    signatures = _read_signatures(parsed.signature_def)
    if not signatures:
        reasons = "; ".join(f"{name}: {why}" for name, why in unserved_signatures(parsed.signature_def).items())
        raise LoadError(
            f"{folder} has no signature that takes and returns dense tensors"
            + (f" ({reasons})" if reasons else "; export it with signatures")
        )
    signatures = effects_examined(parsed.graph_def, ops_of(model), signatures)
    return model, parsed, signatures


def _check_tags(folder: Path, tags: Sequence[str]) -> None:
    """LoadError if the SavedModel has no graph with these tags. It lists those there are."""
    try:
        if (folder / "saved_model.pb").is_file():
            saved = messages.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        else:
            text = (folder / "saved_model.pbtxt").read_text()
            saved = text_format.Parse(text, messages.SavedModel(), allow_unknown_field=True)
    except (OSError, ValueError, DecodeError, text_format.ParseError):
        return  # that is what is wrong with it
    there = [sorted(graph.meta_info_def.tags) for graph in saved.meta_graphs]
    if sorted(set(tags)) not in there:
        listed = " and ".join(f"{{ {' '.join(graph)} }}" for graph in there) or "none"
        raise LoadError(
            f"{folder}: Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. "
            f"The SavedModel has {listed}; saved_model_tags names one of them"
        )


def _is_of_executor(error: Exception) -> bool:
    return "threaded executor" in str(error)


class _NotDense(Exception):
    """A signature's tensor that cannot travel as one TensorProto."""


def _library() -> Path:
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None, "whether it is installed was asked before"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "libtensorflow_cc.so.2"


def _read_signatures(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Those whose tensors can travel."""
    signatures = {}
    for name, definition in sorted(definitions.items()):
        if name in _INIT_SIGNATURES:
            continue
        with contextlib.suppress(_NotDense):  # `unserved_signatures` has these
            signatures[name] = _read_signature(name, definition)
    return signatures


def unserved_signatures(definitions: Mapping[str, Any]) -> dict[str, str]:
    """Those whose tensors cannot travel, each with the reason."""
    reasons = {}
    for name, definition in sorted(definitions.items()):
        try:
            _read_signature(name, definition)
        except _NotDense as error:
            if name not in _INIT_SIGNATURES:
                reasons[name] = str(error)
    return reasons


def _read_signature(name: str, definition: Any) -> Signature:
    def specs(infos: Any, defaults: Any) -> dict[str, TensorSpec]:
        return {alias: _read_spec(alias, info, defaults) for alias, info in sorted(infos.items())}

    return Signature(
        name=name,
        method=definition.method_name,
        inputs=specs(definition.inputs, definition.defaults),
        outputs=specs(definition.outputs, {}),
    )


def _read_spec(alias: str, info: Any, defaults: Any) -> TensorSpec:
    dtype = tensors.type_name(info.dtype)
    encoding = info.WhichOneof("encoding")
    if encoding == "coo_sparse" or info.composite_tensor.type_spec.type_spec_class == _SPARSE:
        raise _NotDense(f"{alias} is a sparse tensor; export it dense (tf.sparse.to_dense)")
    if info.composite_tensor.type_spec.type_spec_class == _RAGGED:
        raise _NotDense(f"{alias} is a ragged tensor; export it dense (RaggedTensor.to_tensor)")
    if encoding != "name":
        raise _NotDense(f"{alias} is not a dense tensor")
    if dtype not in NUMPY_TYPES:
        raise _NotDense(f"{alias} has element type {dtype}, which cannot be served")
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    default = tensors.decode(alias, defaults[alias], bytes_max=_BYTES_MAX) if alias in defaults else None
    return TensorSpec(name=alias, dtype=dtype, shape=shape, engine_name=info.name, default=default)


def _slots(
    specs: Mapping[str, TensorSpec], moved: Mapping[str, str] | None = None
) -> list[tuple[str, str, int, tuple[int, ...] | None]]:
    moved = moved or {}
    return [
        (spec.name, moved.get(spec.engine_name, spec.engine_name), tensors.type_number(spec.dtype), spec.shape)
        for spec in specs.values()
    ]
