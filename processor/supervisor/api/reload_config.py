"""TensorFlow Serving's ReloadConfigRequest as a manifest."""

import dataclasses
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from corelane.processor.errors import FailedPrecondition, InvalidRequest
from corelane.processor.manifest import Manifest, ModelSettings
from corelane.processor.manifest.paths import name_problem, path_problem, shown
from corelane.processor.manifest.tensorflow_flags import policy_of


def manifest_of(request: Any, current: Manifest, available: Mapping[str, Set[int]]) -> Manifest:
    """`current` with the models of a ReloadConfigRequest in place of its own. A model that is already known keeps what
    the request cannot say (queue, sessions, roles, ...).

    InvalidRequest for a list that cannot be served, FailedPrecondition for a label on a version of a known model that
    is not available; `available` has those that are."""
    models: list[ModelSettings] = []
    for config in request.config.model_config_list.config:
        if not config.name or not config.base_path:
            raise InvalidRequest("Illegal setting of ModelServerConfig: every model needs a name and a base_path")
        for name in (config.name, *config.version_labels):
            if problem := name_problem(name):
                raise InvalidRequest(f"{shown(name)} cannot be the name of a model or a label: {problem}")
        if any(model.name == config.name for model in models):
            raise InvalidRequest(f"Illegal to list model {config.name} multiple times in config list")
        problem = path_problem(config.base_path)
        if problem is not None:
            raise InvalidRequest(f"model {config.name}: {problem}")
        known = current.model(config.name)
        labels = tuple(sorted(config.version_labels.items()))
        if known is not None:
            for _, version in labels:
                if version not in available.get(config.name, ()):
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )
        base = known or ModelSettings(name=config.name, path=Path(config.base_path))
        models.append(
            dataclasses.replace(
                base, path=Path(config.base_path), versions=policy_of(config.model_version_policy, base), labels=labels
            )
        )
    return dataclasses.replace(current, models=tuple(models))
