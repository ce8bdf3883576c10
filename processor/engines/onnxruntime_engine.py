"""ONNX models by ONNX Runtime: one session object, whose `Run` many threads may call at once."""

import ctypes
import resource
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from corelane.processor._native import OutsizedRuns, give_back_heap
from corelane.processor.engines.engine import Engine, EngineOptions
from corelane.processor.engines.onnx_initializers import BYTES_MAX, optional_inputs
from corelane.processor.engines.selection import the_only_file
from corelane.processor.errors import EngineFailed, InvalidRequest, LoadError, OutOfMemory, RequestError
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, Signature, TensorSpec

# A server of somebody's models tells nobody of them.
onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(3)  # errors: it warns of GPUs and files that a sandbox hides

_TYPES = {
    "tensor(float)": "DT_FLOAT",
    "tensor(double)": "DT_DOUBLE",
    "tensor(float16)": "DT_HALF",
    "tensor(bfloat16)": "DT_BFLOAT16",
    "tensor(int8)": "DT_INT8",
    "tensor(int16)": "DT_INT16",
    "tensor(int32)": "DT_INT32",
    "tensor(int64)": "DT_INT64",
    "tensor(uint8)": "DT_UINT8",
    "tensor(uint16)": "DT_UINT16",
    "tensor(uint32)": "DT_UINT32",
    "tensor(uint64)": "DT_UINT64",
    "tensor(bool)": "DT_BOOL",
    "tensor(string)": "DT_STRING",
}
_ONNX_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16, which numpy has no type for


class OnnxRuntimeEngine(Engine):
    name = "onnxruntime"

    def __init__(self, session: Any, signature: Signature, notes: Sequence[str] = ()) -> None:
        self._session = session
        self._signatures = {signature.name: signature}
        self.notes = notes
        self._lock = threading.Lock()
        self._outsized = OutsizedRuns()  # guarded by the lock
        self._has_bfloat16 = "DT_BFLOAT16" in _types(signature)

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "OnnxRuntimeEngine":
        if options.precision == "bf16":
            raise LoadError("precision: bf16 is not available for engine onnxruntime; use auto or fp32")
        if options.op_libraries:
            raise LoadError("op_libraries are TensorFlow's; engine onnxruntime cannot load them")
        file = the_only_file(folder, "*.onnx", "ONNX model")
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.threads_per_session
        session_options.inter_op_num_threads = 1
        session_options.log_severity_level = 3
        # The arena keeps the most that it ever had; malloc gives it back, and costs no more. A pattern of each
        # shape that came is kept without a bound, and gains nothing.
        session_options.enable_cpu_mem_arena = False
        session_options.enable_mem_pattern = False
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(file), session_options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the binding raises a class of its own per status code
            raise LoadError(f"{file} is not a model that ONNX Runtime can load: {str(error)[:1000]}") from error
        signature, notes = _read_signature(session, file)
        # Python's binding has bfloat16 in one of its two ways to call, and strings in the other.
        if _types(signature) >= {"DT_BFLOAT16", "DT_STRING"}:
            raise LoadError("engine onnxruntime cannot serve bfloat16 and strings in one model")
        return cls(session, signature, notes)

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def make_session(self) -> None:
        """All scratch memory of a run is ONNX Runtime's own, for as long as it takes."""
        return

    def run(
        self, session: Any, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        # A default is the session's own already, which need not convert it again.
        given = {name: array for name, array in inputs.items() if array is not signature.inputs[name].default}
        try:
            if self._has_bfloat16:
                values = {name: _to_value(array) for name, array in given.items()}
                results = [_from_value(v) for v in self._session.run_with_ort_values(list(outputs), values)]
            else:
                arrays = {name: _to_text(name, array) for name, array in given.items()}
                results = [_to_bytes(array) for array in self._session.run(list(outputs), arrays)]
        except InvalidRequest:
            raise
        except Exception as error:
            raise _failure(error) from error
        self._give_back([*given.values(), *results])
        return dict(zip(outputs, results, strict=True))

    def _give_back(self, arrays: Sequence[np.ndarray]) -> None:
        """Memory, after runs that were much larger than those that followed."""
        with self._lock:
            is_outsized = self._outsized.ran(sum(array.nbytes for array in arrays))
        if is_outsized:
            give_back_heap()

    def unload(self) -> None:
        del self._session


def _failure(error: Exception) -> RequestError:
    """The binding has a class for each code of ONNX Runtime's. A kernel that finds values at fault returns
    INVALID_ARGUMENT or throws ONNX Runtime's exception (FAIL); another exception is RUNTIME_EXCEPTION, and that is
    std::bad_alloc where memory is limited."""
    message = str(error)[:1000]
    if isinstance(error, (states.InvalidArgument, states.Fail)):
        return InvalidRequest(message)
    if isinstance(error, MemoryError) or (isinstance(error, states.RuntimeException) and _is_memory_limited()):
        return OutOfMemory(f"ONNX Runtime: {message}: send less at once, or raise memory_bytes_max")
    return EngineFailed(f"ONNX Runtime: {message}")


def _is_memory_limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY


def _read_signature(session: Any, file: Path) -> tuple[Signature, list[str]]:
    """The signature, and what of the model it leaves out, in words."""
    outputs = {node.name: _read_spec(node) for node in session.get_outputs() if node.type in _TYPES}
    notes = [
        f"output {node.name} is not served: it is {node.type}, which no tensor can carry{_hint(node)}"
        for node in session.get_outputs()
        if node.type not in _TYPES
    ]
    if not outputs:
        raise LoadError(f"the model returns no tensor: {'; '.join(notes)}")
    inputs = {node.name: _read_spec(node) for node in session.get_inputs()}
    optional = session.get_overridable_initializers()
    defaults, large = optional_inputs(file) if optional else ({}, [])
    for node in optional:
        if node.name in defaults and node.type in _TYPES:
            inputs[node.name] = replace(_read_spec(node), default=defaults[node.name])
    notes += [
        f"input {name} is not served: its default is over {BYTES_MAX} bytes, or stands in another file"
        for name in large
    ]
    alone = "engine onnxruntime runs each request by itself"
    return Signature(name=DEFAULT_SIGNATURE, inputs=inputs, outputs=outputs, joins_rows=alone), notes


def _hint(node: Any) -> str:
    if node.type.startswith("seq(map("):
        return "; for a classifier of skl2onnx, export it with options={'zipmap': False}"
    if node.type.startswith("seq("):
        return "; add a ConcatFromSequence to the model"
    return ""


def _read_spec(node: Any) -> TensorSpec:
    if node.type not in _TYPES:
        raise LoadError(f"input {node.name} is {node.type}, which cannot be served")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(name=node.name, dtype=_TYPES[node.type], shape=shape, engine_name=node.name)


def _types(signature: Signature) -> set[str]:
    return {spec.dtype for specs in (signature.inputs, signature.outputs) for spec in specs.values()}


def _to_value(array: np.ndarray) -> Any:
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype == ml_dtypes.bfloat16:
        bits = contiguous.view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(contiguous)


def _from_value(value: Any) -> np.ndarray:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    bits = np.empty(tuple(value.shape()), np.uint16)
    ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return bits.view(ml_dtypes.bfloat16)


def _to_text(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "O":
        return array
    text = np.empty(array.size, np.object_)
    try:
        text[:] = [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f'input "{name}": ONNX Runtime takes strings in UTF-8: {error}') from error
    return text.reshape(array.shape)


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "O":
        return array
    strings = np.empty(array.size, np.object_)
    strings[:] = [item.encode() for item in array.ravel().tolist()]
    return strings.reshape(array.shape)
