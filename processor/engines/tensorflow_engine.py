"""TensorFlow SavedModels: TF2 functions and TF1 graphs, by their signatures, through the C API in TensorFlow's wheel.

TensorFlow's Python is never imported: a request goes from bytes to bytes in C++, on its session's thread alone
(`inter_op_thread_pool = -1`), without Python's lock. The sessions share the variables and no thread pool.
"""

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processor._native import TensorFlowModel
from processor.engines.engine import EngineOptions, NativeEngine
from processor.errors import LoadError, RequestError
from processor.tensors import NUMPY_TYPES, Signature, TensorSpec, generated_inputs
from processor.wire import messages, tensors

_logger = logging.getLogger(__name__)

_INIT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
_BYTES_MAX = 2**31 - 1
# TensorFlow's executor without bookkeeping for other threads: less CPU a run (ARCHITECTURE.md has the figures).
_SINGLE_THREADED = "SINGLE_THREADED_EXECUTOR"
# RunOptions{inter_op_thread_pool: -1}: the caller's thread runs the whole graph.
_CALLERS_THREAD = b"\x18" + b"\xff" * 9 + b"\x01"


class TensorFlowEngine(NativeEngine):
    name = "tensorflow"

    def __init__(self, model: TensorFlowModel, signatures: dict[str, Signature]) -> None:
        self.model = model
        self._signatures = signatures

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "TensorFlowEngine":
        if options.precision == "bf16":
            raise LoadError("precision: bf16 is not yet available for engine tensorflow; use auto or fp32")
        config = messages.ConfigProto(
            intra_op_parallelism_threads=options.threads_per_session,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        config.experimental.executor_type = _SINGLE_THREADED
        engine = cls.open(folder, config.SerializeToString(), _CALLERS_THREAD, options.op_libraries)
        if engine._has_its_executor():
            return engine
        engine.unload()
        _logger.info("the graph has branches or loops, which TensorFlow's lighter executor cannot run")
        config.ClearField("experimental")
        return cls.open(folder, config.SerializeToString(), _CALLERS_THREAD, options.op_libraries)

    @classmethod
    def open(
        cls, folder: Path, config: bytes, run_options: bytes, op_libraries: Sequence[str] = ()
    ) -> "TensorFlowEngine":
        """With a serialized ConfigProto and RunOptions; empty ones are TensorFlow's defaults."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            model, meta_graph = TensorFlowModel.load(
                str(_library()), str(folder), config, run_options, list(op_libraries)
            )
        except RuntimeError as error:
            raise LoadError(f"{folder} is not a SavedModel that TensorFlow can load: {error}") from error
        signatures = {}
        for name, definition in sorted(messages.MetaGraphDef.FromString(meta_graph).signature_def.items()):
            if name in _INIT_SIGNATURES:
                continue
            try:
                signature = _read_signature(name, definition)
            except _NotDense as error:
                _logger.warning("signature %s is not served: %s", name, error)
                continue
            if not model.add_signature(name, _slots(signature.inputs), _slots(signature.outputs)):
                raise LoadError(f"{folder}: signature {name} names a tensor that the graph does not have")
            signatures[name] = signature
        if not signatures:
            raise LoadError(
                f"{folder} has no signature that takes and returns dense tensors; export it with signatures"
            )
        return cls(model, signatures)

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def _has_its_executor(self) -> bool:
        """Whether the chosen executor can run the graph: TensorFlow says so when a signature first runs."""
        session = self.make_session()
        for signature in self._signatures.values():
            try:
                self.run(session, signature, generated_inputs(signature), list(signature.outputs))
            except RequestError as error:
                if "threaded executor" in str(error):
                    return False
        return True

    def unload(self) -> None:
        del self.model


class _NotDense(Exception):
    """A signature's tensor that cannot travel as one TensorProto."""


def _library() -> Path:
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None, "whether it is installed was asked before"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "libtensorflow_cc.so.2"


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
    if info.WhichOneof("encoding") != "name":
        raise _NotDense(f"{alias} is not a dense tensor")
    if dtype not in NUMPY_TYPES:
        raise _NotDense(f"{alias} has element type {dtype}")
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    default = tensors.decode(alias, defaults[alias], bytes_max=_BYTES_MAX) if alias in defaults else None
    return TensorSpec(name=alias, dtype=dtype, shape=shape, engine_name=info.name, default=default)


def _slots(specs: Mapping[str, TensorSpec]) -> list[tuple[str, str, int, tuple[int, ...] | None]]:
    return [(spec.name, spec.engine_name, tensors.type_number(spec.dtype), spec.shape) for spec in specs.values()]
