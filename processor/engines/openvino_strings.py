"""OpenVINO models with string inputs or outputs, run by its Python: its C API passes strings on only up to a NUL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import openvino

from processor.engines.engine import Engine, EngineOptions
from processor.errors import EngineFailed, InvalidRequest
from processor.tensors import NUMPY_TYPES, Signature


class OpenVinoStringEngine(Engine):
    name = "openvino"

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._signatures = {signature.name: signature}
        self._input_index = {name: index for index, name in enumerate(signature.inputs)}
        self._output_index = {name: index for index, name in enumerate(signature.outputs)}

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> Engine:
        raise NotImplementedError("made by OpenVinoEngine.load, which knows which models need it")

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
            message = last_line(error)
            if "Check '" in str(error) or "shape" in message.lower():
                raise InvalidRequest(message) from error
            raise EngineFailed(f"OpenVINO: {message}") from error
        answer = {
            name: _from_tensor(signature.outputs[name].dtype, session.get_output_tensor(self._output_index[name]))
            for name in outputs
        }
        refuse_undefined(inputs, answer)
        return answer

    def unload(self) -> None:
        del self._model


def refuse_undefined(inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None) -> None:
    """InvalidRequest for what OpenVINO leaves as an earlier run wrote it: it skips what has no elements to work on.
    `outputs` are None where the native path has found that they are so."""
    empty = next((name for name, array in inputs.items() if not array.size), None)
    if empty is not None and (outputs is None or any(array.size for array in outputs.values())):
        raise InvalidRequest(f"input {empty} has no elements, and OpenVINO does not define what it answers to that")


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


def last_line(error: BaseException) -> str:
    """OpenVINO's messages are a stack of source positions, then the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else repr(error))[:1000]
