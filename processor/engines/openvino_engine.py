"""OpenVINO IR and ONNX models by OpenVINO.

One compiled model holds the weights. It gets as many streams as the group has sessions, because requests of one stream
wait for each other; a session is one infer request.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import openvino

from processor.engines.engine import Engine, EngineOptions
from processor.engines.selection import the_only_file
from processor.errors import EngineFailed, InvalidRequest, LoadError
from processor.tensors import DEFAULT_SIGNATURE, NUMPY_TYPES, Signature, TensorSpec

_TYPES = {
    "f32": "DT_FLOAT",
    "f64": "DT_DOUBLE",
    "f16": "DT_HALF",
    "bf16": "DT_BFLOAT16",
    "i8": "DT_INT8",
    "i16": "DT_INT16",
    "i32": "DT_INT32",
    "i64": "DT_INT64",
    "u8": "DT_UINT8",
    "u16": "DT_UINT16",
    "u32": "DT_UINT32",
    "u64": "DT_UINT64",
    "boolean": "DT_BOOL",
    "string": "DT_STRING",
}


class OpenVinoEngine(Engine):
    name = "openvino"

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._signatures = {signature.name: signature}
        self._input_index = {name: index for index, name in enumerate(signature.inputs)}
        self._output_index = {name: index for index, name in enumerate(signature.outputs)}

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "OpenVinoEngine":
        if options.op_libraries:
            raise LoadError("op_libraries are TensorFlow's; engine openvino cannot load them")
        file = the_only_file(folder, "*.xml" if any(folder.glob("*.xml")) else "*.onnx", "OpenVINO IR or ONNX model")
        core = openvino.Core()
        if options.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise LoadError("precision: bf16 needs a processor with avx512_bf16 or amx_bf16; use auto or fp32")
        properties = {
            "NUM_STREAMS": options.sessions,
            "INFERENCE_NUM_THREADS": options.sessions * options.threads_per_session,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if options.precision == "bf16" else "f32",
        }
        try:
            model = core.compile_model(core.read_model(file), "CPU", properties)
        except RuntimeError as error:
            raise LoadError(f"{file} is not a model that OpenVINO can load: {_last_line(error)}") from error
        return cls(model, _read_signature(model))

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def make_session(self) -> Any:
        return self._model.create_infer_request()

    def run(
        self, session: Any, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        try:
            for name, array in inputs.items():
                session.set_input_tensor(self._input_index[name], _to_tensor(signature.inputs[name].dtype, array))
            session.infer()
        except RuntimeError as error:
            # A graph that rejects a shape or a value says so with the same class as a fault of its own.
            message = _last_line(error)
            if "Check '" in str(error) or "shape" in message.lower():
                raise InvalidRequest(message) from error
            raise EngineFailed(f"OpenVINO: {message}") from error
        return {
            name: _from_tensor(signature.outputs[name].dtype, session.get_output_tensor(self._output_index[name]))
            for name in outputs
        }

    def unload(self) -> None:
        del self._model


def _read_signature(model: Any) -> Signature:
    return Signature(
        name=DEFAULT_SIGNATURE,
        inputs=_read_specs("input", model.inputs),
        outputs=_read_specs("output", model.outputs),
    )


def _read_specs(kind: str, ports: Any) -> dict[str, TensorSpec]:
    specs: dict[str, TensorSpec] = {}
    for index, port in enumerate(ports):
        name = min(port.names) if port.names else f"{kind}_{index}"
        type_name = port.element_type.get_type_name()
        if type_name not in _TYPES:
            raise LoadError(f"{kind} {name} has element type {type_name}, which cannot be served")
        partial = port.partial_shape
        shape = None if partial.rank.is_dynamic else tuple(-1 if d.is_dynamic else d.get_length() for d in partial)
        specs[name] = TensorSpec(name=name, dtype=_TYPES[type_name], shape=shape, engine_name=name)
    return specs


def _to_tensor(dtype: str, array: np.ndarray) -> Any:
    shape = openvino.Shape(list(array.shape))
    if dtype == "DT_STRING":
        tensor = openvino.Tensor(openvino.Type.string, shape)
        if array.size:
            tensor.bytes_data = np.array([bytes(item) for item in array.ravel().tolist()]).reshape(array.shape)
        return tensor
    if dtype == "DT_BFLOAT16":
        tensor = openvino.Tensor(openvino.Type.bf16, shape)
        tensor.data.view(np.uint16)[...] = array.view(np.uint16)
        return tensor
    tensor = openvino.Tensor(openvino.Type(NUMPY_TYPES[dtype]), shape)
    tensor.data[...] = array
    return tensor


def _from_tensor(dtype: str, tensor: Any) -> np.ndarray:
    if dtype == "DT_STRING":
        strings = np.empty(tuple(tensor.shape), np.object_)
        if strings.size:  # reading an empty string tensor crashes in OpenVINO 2026.4
            strings[...] = tensor.bytes_data
        return strings
    if dtype == "DT_BFLOAT16":
        return tensor.data.view(np.uint16).copy().view(ml_dtypes.bfloat16)
    return np.array(tensor.data, copy=True)


def _last_line(error: BaseException) -> str:
    """OpenVINO's messages are a stack of source positions, then the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else repr(error))[:1000]
