"""An engine that is a function of arrays, to stand beside another."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corelane.processor.engines import Engine, EngineOptions
from corelane.processor.wire.tensor_types import Signature, TensorSpec

Inputs = Mapping[str, np.ndarray]
Model = Callable[[Inputs], dict[str, np.ndarray]]


def specs(**slots: tuple[str, tuple[int, ...]]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(name=name, dtype=dtype, shape=shape, engine_name=name)
        for name, (dtype, shape) in slots.items()
    }


class FunctionEngine(Engine):
    """An engine that is a function of arrays."""

    name = "function"

    def __init__(self, signature: Signature, model: Model, **others: tuple[Signature, Model]) -> None:
        self._models = {signature.name: (signature, model), **others}
        self.runs = 0

    @classmethod
    def load(cls, folder: Path, options: EngineOptions) -> Engine:
        raise NotImplementedError

    def signatures(self) -> Mapping[str, Signature]:
        return {name: signature for name, (signature, _) in self._models.items()}

    def make_session(self) -> Any:
        return None

    def run(
        self, session: Any, signature: Signature, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self.runs += 1
        answer = self._models[signature.name][1](inputs)
        return {name: answer[name] for name in outputs}

    def unload(self) -> None:
        pass
