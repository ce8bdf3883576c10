"""Fused plans, which `fused_compiler` makes: features by our own kernels, the dense part by OpenVINO or TensorFlow."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processor._native import FusedModel, FusedPart, Model, OpenVinoModel
from processor.engines.engine import EngineOptions, NativeEngine
from processor.engines.openvino_library import library, properties_of
from processor.engines.selection import PLAN
from processor.engines.tables import TableStore
from processor.errors import LoadError
from processor.tensors import Signature, TensorSpec
from processor.wire import tensors

SCHEMA = 1
ORIGINAL = "original"
UNSERVED = "unserved.json"


class FusedEngine(NativeEngine):
    name = "fused"

    def __init__(self, model: FusedModel, signatures: dict[str, Signature], unserved: Mapping[str, str]) -> None:
        self.model = model
        self._signatures = signatures
        self.unserved = unserved

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "FusedEngine":
        try:
            plan = json.loads((folder / PLAN).read_text())
            reasons = folder / UNSERVED
            unserved = json.loads(reasons.read_text()) if reasons.exists() else {}
        except (OSError, ValueError) as error:
            raise LoadError(f"{folder} holds no fused plan: {error}") from error
        if plan.get("schema") != SCHEMA:
            raise LoadError(f"{folder} is a fused plan of schema {plan.get('schema')}; compile it again for {SCHEMA}")
        parts, signatures = [], {}
        original = None
        with tempfile.TemporaryDirectory() as own:
            store = TableStore(options.tables or Path(own))
            try:
                for entry in plan["signatures"]:
                    if "program" in entry:
                        signature = _signature(entry)
                        parts.append(_part(folder, entry, signature, options, store))
                    else:
                        original = original or _tensorflow(folder / ORIGINAL, options)
                        signature = original.signatures()[entry["name"]]
                        parts.append(_original_part(original, signature))
                    signatures[signature.name] = signature
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise LoadError(f"{folder} is a damaged fused plan: {error}") from error
            except OSError as error:
                raise LoadError(f"{folder}: its tables cannot be kept in {options.tables}: {error}") from error
        return cls(FusedModel(parts), signatures, unserved)

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def unload(self) -> None:
        del self.model


def _signature(entry: Mapping[str, Any]) -> Signature:
    def specs(found: list[dict[str, Any]]) -> dict[str, TensorSpec]:
        return {
            one["name"]: TensorSpec(
                name=one["name"],
                dtype=one["dtype"],
                shape=None if one["shape"] is None else tuple(one["shape"]),
                engine_name=one["name"],
            )
            for one in found
        }

    return Signature(
        name=entry["name"], method=entry["method"], inputs=specs(entry["inputs"]), outputs=specs(entry["outputs"])
    )


def _part(
    folder: Path, entry: Mapping[str, Any], signature: Signature, options: EngineOptions, store: TableStore
) -> FusedPart:
    inputs = [_slot(spec) for spec in signature.inputs.values()]
    outputs = [_slot(spec) for spec in signature.outputs.values()]
    program = entry["program"]
    return FusedPart(
        name=signature.name,
        inputs=inputs,
        outputs=outputs,
        program={
            **program,
            "instructions": [_with_bytes(one) for one in program["instructions"]],
            "tables": [store.in_precision(table, folder, options.precision) for table in program["tables"]],
            "maps": [_with_bytes(one) for one in program["maps"]],
        },
        dense=_dense(folder, entry, signature, options),
        dense_inputs=[
            (is_feature, number, [(size[0], size[1]) if isinstance(size, list) else (-1, size) for size in dims])
            for is_feature, number, dims in entry["dense_inputs"]
        ],
    )


def _dense(folder: Path, entry: Mapping[str, Any], signature: Signature, options: EngineOptions) -> Model:
    path = folder / entry["dense"]
    if path.suffix != ".xml":
        return _tensorflow(path, options).model
    inputs = [_slot(spec) for spec in signature.inputs.values()]
    dense_inputs: list[tuple[str, str, int, tuple[int, ...] | None]] = []
    for index, (is_feature, number, _) in enumerate(entry["dense_inputs"]):
        if is_feature:
            floats = entry["program"]["outputs"][number]["kind"] == "floats"
            dense_inputs.append(
                (f"feature_{index}", "", tensors.type_number("DT_FLOAT" if floats else "DT_INT64"), None)
            )
        else:
            dense_inputs.append(inputs[number])
    return OpenVinoModel.load(
        str(library()),
        str(path),
        list(properties_of(options).items()),
        signature.name,
        dense_inputs,
        [_slot(spec) for spec in signature.outputs.values()],
    )


def _tensorflow(folder: Path, options: EngineOptions) -> NativeEngine:
    from processor.engines.tensorflow_engine import TensorFlowEngine

    return TensorFlowEngine.load(folder, options)


def _original_part(engine: NativeEngine, signature: Signature) -> FusedPart:
    """A signature of the original, as it is."""
    return FusedPart(
        name=signature.name,
        inputs=[_slot(spec) for spec in signature.inputs.values()],
        outputs=[_slot(spec) for spec in signature.outputs.values()],
        program={"instructions": [], "outputs": [], "registers": 0, "feeds": [], "tables": [], "maps": []},
        dense=engine.model,
        dense_inputs=[(False, index, []) for index in range(len(signature.inputs))],
        dense_signature=list(engine.signatures()).index(signature.name),
    )


def _with_bytes(found: dict[str, Any]) -> dict[str, Any]:
    """Strings of bytes, which JSON holds as one character each."""
    return {
        name: value.encode("latin-1")
        if name in ("text", "other_text")
        else [one.encode("latin-1") for one in value]
        if name == "strings"
        else value
        for name, value in found.items()
    }


def _slot(spec: TensorSpec) -> tuple[str, str, int, tuple[int, ...] | None]:
    return spec.name, "", tensors.type_number(spec.dtype), spec.shape
