"""Fused plans, which `fused_compiler` makes: features by our own kernels, the dense part by OpenVINO or TensorFlow.

A plan answers requests of the shapes that its signatures say. Others are the original's to judge: it is loaded beside
the plan when the first of them comes, and answers them natively from then on.
"""

import contextlib
import dataclasses
import json
import logging
import os
import resource
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corelane.processor._native import FusedModel, FusedPart, Model, ModelSession, OpenVinoModel
from corelane.processor.engines.engine import EngineOptions, NativeEngine
from corelane.processor.engines.openvino_library import library, properties_of
from corelane.processor.engines.selection import PLAN, is_installed
from corelane.processor.errors import EngineFailed, EngineMissing, FailedPrecondition, LoadError
from corelane.processor.plans.tables import converted_rows, row_name, row_type
from corelane.processor.wire import tensors
from corelane.processor.wire.tensor_types import SERVE_TAGS, Signature, TensorSpec

SCHEMA = 1
ORIGINAL = "original"
UNSERVED = "unserved.json"
_TENSORFLOW_BYTES = 400 << 20  # of data that the library takes by itself

_logger = logging.getLogger(__name__)


class FusedEngine(NativeEngine):
    """Thread safety: the lock guards the original's load."""

    name = "fused"
    any_shape = True
    model: FusedModel

    def __init__(
        self,
        model: FusedModel,
        signatures: dict[str, Signature],
        unserved: Mapping[str, str],
        load_original: Callable[[], NativeEngine],
    ) -> None:
        self.model = model
        self._signatures = signatures
        self.unserved = unserved
        self._load_original = load_original
        self._lock = threading.Lock()
        self._original: NativeEngine | None = None
        self._no_original = ""  # why there is none, once it was looked for

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> "FusedEngine":
        try:
            plan = json.loads((folder / PLAN).read_text())
            reasons = folder / UNSERVED
            unserved = json.loads(reasons.read_text()) if reasons.exists() else {}
        except (OSError, ValueError) as error:
            raise LoadError(f"{folder} holds no fused plan: {error}") from error
        if not isinstance(plan, dict):
            raise LoadError(f"{folder} holds no fused plan")
        if plan.get("schema") != SCHEMA:
            raise LoadError(f"{folder} is a fused plan of schema {plan.get('schema')}; compile it again for {SCHEMA}")
        tags = tuple(plan.get("tags", SERVE_TAGS))
        parts, signatures = [], {}
        original: NativeEngine | None = None
        with contextlib.ExitStack() as own:
            try:
                for entry in plan["signatures"]:
                    if "program" in entry:
                        signature = _signature(entry)
                        parts.append(_part(folder, entry, signature, options, own))
                    else:
                        original = original or _tensorflow(_original(folder, options), options, tags)
                        signature = original.signatures()[entry["name"]]
                        parts.append(_original_part(original, signature))
                    signatures[signature.name] = signature
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OSError) as error:
                raise LoadError(f"{folder} is a damaged fused plan: {error}") from error
        engine = cls(FusedModel(parts), signatures, unserved, lambda: _load_beside(folder, options, tags))
        if original is not None:
            engine._take_original(original)
        return engine

    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def run(
        self, session: ModelSession, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """What the plan does not cover, the original answers. FailedPrecondition if that cannot be loaded."""
        found = self._run_if_covered(session, signature, inputs, outputs)
        if found is None:
            self._need_original(signature, inputs)
            found = self._run_if_covered(session, signature, inputs, outputs)
        if found is None:
            raise EngineFailed("the plan's original cannot take these inputs, or its outputs cannot be sent")
        return found

    def unload(self) -> None:
        del self.model
        self._original = None

    def _need_original(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
        """Loads it, once; FailedPrecondition, and the same again for whoever comes later, if that fails."""
        with self._lock:
            if self._original is None and not self._no_original:
                _logger.warning("a request is not covered by the plan, so its original is loaded beside it")
                try:
                    self._take_original(self._load_original())
                except Exception as error:  # whatever it is, the plan goes on, and callers hear of it
                    self._no_original = str(error) or type(error).__name__
                    _logger.error("the plan's original cannot be loaded: %s", self._no_original)
            if self._no_original:
                shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
                raise FailedPrecondition(
                    f"signature {signature.name} was compiled for other shapes than {shapes[:500]}, and its original "
                    f"cannot be loaded: {self._no_original}"
                )

    def _take_original(self, original: NativeEngine) -> None:
        if not self.model.set_original(original.model):
            raise LoadError("the original has other signatures than the plan")
        self._original = original


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
        name=entry["name"],
        method=entry["method"],
        inputs=specs(entry["inputs"]),
        outputs=specs(entry["outputs"]),
        joins_rows=entry.get("joins_rows", "the plan does not say whether its rows are independent; compile it again"),
    )


def _part(
    folder: Path, entry: Mapping[str, Any], signature: Signature, options: EngineOptions, own: contextlib.ExitStack
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
            "tables": [_in_precision(table, folder, options, own) for table in program["tables"]],
            "maps": [_with_bytes(one) for one in program["maps"]],
        },
        dense=_dense(folder, entry, signature, options),
        dense_inputs=[
            (is_feature, number, [(size[0], size[1]) if isinstance(size, list) else (-1, size) for size in dims])
            for is_feature, number, dims in entry["dense_inputs"]
        ],
        rows_apart=not signature.joins_rows,
        finite_only=(folder / entry["dense"]).suffix == ".xml",
    )


def _in_precision(
    table: Mapping[str, Any], folder: Path, options: EngineOptions, own: contextlib.ExitStack
) -> dict[str, Any]:
    """A table of the plan in `folder`, in rows of the options' precision: the file that the options have, or else one
    in memory, which `own` closes."""
    original, kind = folder / table["file"], row_type(options.precision, table["dimension"])
    if kind == "fp32":
        path = str(original)
    elif (path := options.tables.get(row_name(table["file"], kind), "")) == "":
        descriptor = os.memfd_create("corelane-table")
        own.callback(os.close, descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            for _, rows in converted_rows(original, kind, table["dimension"]):
                file.write(rows)
        path = f"/proc/self/fd/{descriptor}"
    return {**table, "file": path, "type": kind}


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


def _original(folder: Path, options: EngineOptions) -> Path:
    if (folder / ORIGINAL).is_dir():
        return folder / ORIGINAL
    if options.original is None:
        raise LoadError(f"{folder} does not hold it; compile the plan again")
    return options.original()


def _load_beside(folder: Path, options: EngineOptions, tags: tuple[str, ...]) -> NativeEngine:
    """Loads the original while the plan serves. LoadError rather than running out of memory, which would end both."""
    path = _original(folder, options)
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit != resource.RLIM_INFINITY:
        sizes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        status = Path("/proc/self/status").read_text()
        taken = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData"))
        needed = _TENSORFLOW_BYTES + 2 * sizes  # a restore holds what it reads beside what it makes
        if taken + needed > limit:
            raise LoadError(f"it may need {needed >> 20} MiB more than the {taken >> 20} of memory_bytes_max")
    return _tensorflow(path, options, tags)


def _tensorflow(folder: Path, options: EngineOptions, tags: tuple[str, ...] = SERVE_TAGS) -> NativeEngine:
    if not is_installed("tensorflow"):
        raise EngineMissing("tensorflow")
    from corelane.processor.engines.tensorflow_engine import TensorFlowEngine

    return TensorFlowEngine.load(folder, dataclasses.replace(options, saved_model_tags=tags))


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
        rows_apart=not signature.joins_rows,
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
