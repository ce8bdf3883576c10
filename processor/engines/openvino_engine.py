"""OpenVINO IR and ONNX models by OpenVINO.

One compiled model holds the weights. It gets as many streams as the group has sessions, because requests of one stream
wait for each other; a session is one infer request. A model is served if it is proved that OpenVINO computes with its
integers as their types say, for all requests or for those that pass checks of their values.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from corelane.kernels.batching import JoinsRows, check_openvino_rows
from corelane.processor._native import ModelSession, OpenVinoModel
from corelane.processor.engines.engine import Engine, EngineOptions, NativeEngine
from corelane.processor.engines.onnx_initializers import as_plain_inputs, with_defaults
from corelane.processor.engines.openvino_checks import checks_of
from corelane.processor.engines.openvino_library import library, properties_of
from corelane.processor.engines.selection import the_only_file
from corelane.processor.errors import EngineFailed, InvalidRequest, LoadError
from corelane.processor.loading.model_files import visible_files
from corelane.processor.wire import tensors
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE, Signature, TensorSpec

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


class OpenVinoEngine(NativeEngine):
    name = "openvino"

    def __init__(self, model: OpenVinoModel, signature: Signature) -> None:
        self.model = model
        self._signatures = {signature.name: signature}

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> Engine:
        if options.op_libraries:
            raise LoadError("op_libraries are TensorFlow's; engine openvino cannot load them")
        file = the_only_file(
            folder, "*.xml" if visible_files(folder, "*.xml") else "*.onnx", "OpenVINO IR or ONNX model"
        )
        with as_plain_inputs(file) as (path, defaults):
            return cls._open(file, path, options, defaults)

    @classmethod
    def _open(cls, file: Path, plain: Path, options: EngineOptions, defaults: Mapping[str, np.ndarray]) -> Engine:
        """Opens `plain`, in which the inputs that may be left out have no defaults; those are `defaults`."""
        core = openvino.Core()
        try:
            graph = core.read_model(plain)
            signature = with_defaults(_read_signature(graph), defaults)
            checks, needs_elements = checks_of(graph, options.precision)
            if options.batching:
                signature = dataclasses.replace(signature, joins_rows=_joins_rows(graph))
            model = OpenVinoModel.load(
                str(library()),
                str(plain),
                list(properties_of(options).items()),
                signature.name,
                _slots(signature.inputs),
                _slots(signature.outputs),
                checks,
                needs_elements,
                rows_apart=not signature.joins_rows,
            )
        except RuntimeError as error:
            raise LoadError(f"{file} is not a model that OpenVINO can load: {_last_line(error)}") from error
        return cls(model, signature)

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def run(
        self, session: ModelSession, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        answer = self._run_if_covered(session, signature, inputs, outputs)
        if answer is None:
            _refuse_undefined(inputs)
            raise EngineFailed("OpenVINO cannot take these inputs, or its outputs cannot be sent")
        return answer

    def unload(self) -> None:
        del self.model


def _slots(specs: Mapping[str, TensorSpec]) -> list[tuple[str, str, int, tuple[int, ...] | None]]:
    return [(spec.name, "", tensors.type_number(spec.dtype), spec.shape) for spec in specs.values()]


def _joins_rows(model: Any) -> str:
    """Why requests may not run together; empty if they may."""
    try:
        check_openvino_rows(model)
    except JoinsRows as error:
        return str(error)
    return ""


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


def _refuse_undefined(inputs: Mapping[str, np.ndarray]) -> None:
    """InvalidRequest for what OpenVINO leaves as an earlier run wrote it: it skips what has no elements to work on."""
    empty = next((name for name, array in inputs.items() if not array.size), None)
    if empty is not None:
        raise InvalidRequest(f"input {empty} has no elements, and OpenVINO does not define what it answers to that")


def _last_line(error: BaseException) -> str:
    """OpenVINO's messages are a stack of source positions, then the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else repr(error))[:1000]
