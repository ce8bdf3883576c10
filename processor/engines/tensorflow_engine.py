"""TensorFlow SavedModels: TF2 functions and TF1 graphs, by their signatures.

Both kinds are loaded into one session of the graph runtime, as TensorFlow Serving does. A request runs on its session
thread alone (`inter_op_thread_pool = -1`): the sessions share the variables and no thread pool.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from processor.engines.engine import Engine, EngineOptions
from processor.errors import EngineFailed, InvalidRequest, LoadError
from processor.tensors import NUMPY_TYPES, Signature, TensorSpec
from processor.wire.tensors import type_name

_logger = logging.getLogger(__name__)

_INIT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
_CALLABLES_MAX = 64


class TensorFlowEngine(Engine):
    name = "tensorflow"

    def __init__(self, session: Any, signatures: dict[str, Signature]) -> None:
        self._session = session
        self._signatures = signatures
        self._lock = threading.Lock()
        # Guarded by _lock: a compiled feed and fetch list for each (signature, outputs) that was asked for.
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "TensorFlowEngine":
        tf.get_logger().setLevel(logging.ERROR)
        if options.precision == "bf16":
            raise LoadError("precision: bf16 is not yet available for engine tensorflow; use auto or fp32")
        for library in options.op_libraries:
            try:
                tf.load_op_library(library)
            except (tf.errors.OpError, OSError) as error:
                raise LoadError(f"op library {library} cannot be loaded: {error}") from error
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=options.threads_per_session,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            session.close()
            raise LoadError(f"{folder} is not a SavedModel that TensorFlow can load: {_first_lines(error)}") from error
        signatures = {
            name: signature
            for name, definition in meta_graph.signature_def.items()
            if name not in _INIT_SIGNATURES and (signature := _read_signature(name, definition)) is not None
        }
        if not signatures:
            session.close()
            raise LoadError(
                f"{folder} has no signature that takes and returns dense tensors; export it with signatures"
            )
        return cls(session, signatures)

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def make_session(self) -> None:
        """All scratch memory of a run lives in TensorFlow's allocator."""
        return

    def run(
        self, session: Any, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        run = self._callable(signature, tuple(outputs))
        try:
            results = run(*(inputs[name] for name in signature.inputs))
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise InvalidRequest(_first_lines(error)) from error
        except tf.errors.OpError as error:
            raise EngineFailed(f"TensorFlow: {_first_lines(error)}") from error
        return dict(zip(outputs, results, strict=True))

    def unload(self) -> None:
        self._callables.clear()
        self._session.close()

    def _callable(self, signature: Signature, outputs: tuple[str, ...]) -> Any:
        key = (signature.name, outputs)
        with self._lock:
            if key in self._callables:
                return self._callables[key]
            options = config_pb2.CallableOptions()
            options.feed.extend(spec.engine_name for spec in signature.inputs.values())
            options.fetch.extend(signature.outputs[name].engine_name for name in outputs)
            options.run_options.inter_op_thread_pool = -1
            if len(self._callables) >= _CALLABLES_MAX:
                self._callables.pop(next(iter(self._callables)))
            made = self._session._make_callable_from_options(options)
            self._callables[key] = made
            return made


def _read_signature(name: str, definition: Any) -> Signature | None:
    try:
        return Signature(
            name=name,
            method=definition.method_name,
            inputs={alias: _read_spec(alias, info, definition) for alias, info in sorted(definition.inputs.items())},
            outputs={alias: _read_spec(alias, info, None) for alias, info in sorted(definition.outputs.items())},
        )
    except _NotDense as error:
        _logger.warning("signature %s is not served: %s", name, error)
        return None


class _NotDense(Exception):
    """A signature's tensor that cannot travel as one TensorProto."""


def _read_spec(alias: str, info: Any, definition: Any) -> TensorSpec:
    dtype = type_name(info.dtype)
    if info.WhichOneof("encoding") != "name":
        raise _NotDense(f"{alias} is not a dense tensor")
    if dtype not in NUMPY_TYPES:
        raise _NotDense(f"{alias} has element type {dtype}")
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    default = None
    if definition is not None and alias in definition.defaults:
        default = tf.make_ndarray(definition.defaults[alias])
    return TensorSpec(name=alias, dtype=dtype, shape=shape, engine_name=info.name, default=default)


def _first_lines(error: BaseException) -> str:
    """An error without the graph's history, which TensorFlow appends to every message."""
    message = getattr(error, "message", None) or str(error)
    return str(message).split("\n\nOriginal stack trace")[0].split("\n\nErrors may have originated")[0].strip()[:1000]
