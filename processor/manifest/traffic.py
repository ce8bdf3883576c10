"""Changes of who gets a model's calls: pure functions from settings to settings."""

import dataclasses
from collections.abc import Mapping

from corelane.processor.errors import ControlError
from corelane.processor.manifest.settings import ModelSettings, VersionSettings
from corelane.scheduler.numbers import percent


def promoted(model: ModelSettings, version: int) -> ModelSettings:
    """All calls to `version`, which takes over role and label of the version that had the most; that one gets its in
    return, and no calls, but stays ready to be rolled back to. A version that leads already keeps its own: then the
    others are taken back. ControlError if there is nothing to promote."""
    listed = _listed(model)
    chosen = _entry(listed, model, version)
    others = [entry for entry in listed if entry is not chosen]
    if not others:
        raise ControlError(f"version {version} is the only one of model {model.name}")
    if chosen.traffic == 100:
        raise ControlError(f"version {version} of model {model.name} has all traffic already")
    leader = max(others, key=lambda entry: (entry.shadow is None, entry.traffic or 0.0, entry.version))
    if _leads(chosen, leader):
        changed = {chosen.version: dataclasses.replace(chosen, traffic=100.0)}
    else:
        changed = {
            chosen.version: dataclasses.replace(
                chosen, role=leader.role, label=leader.label, traffic=100.0, shadow=None
            ),
            leader.version: dataclasses.replace(leader, role=chosen.role, label=chosen.label, traffic=0.0),
        }
    return _with(model, [changed.get(entry.version, _silent(entry)) for entry in listed])


def split(model: ModelSettings, percentages: Mapping[int, float]) -> ModelSettings:
    """Calls by percentage; a version that is not named gets none. ControlError if they do not add up to 100."""
    listed = _listed(model)
    for version in percentages:
        _entry(listed, model, version)
    if not all(0 <= share <= 100 for share in percentages.values()):
        shares = ", ".join(percent(share) for share in percentages.values())
        raise ControlError(f"percentages should be numbers from 0 to 100, not {shares}")
    if abs(sum(percentages.values()) - 100) > 0.01:
        raise ControlError(f"the percentages should add up to 100, not {percent(sum(percentages.values()))}")
    return _with(
        model,
        [
            dataclasses.replace(entry, traffic=percentages[entry.version], shadow=None)
            if entry.version in percentages
            else _silent(entry)
            for entry in listed
        ],
    )


def _leads(chosen: VersionSettings, other: VersionSettings) -> bool:
    """Whether the other has fewer calls, or as many and no better a role."""
    if chosen.shadow is not None or not chosen.traffic:
        return False
    if chosen.traffic != (other.traffic or 0.0):
        return chosen.traffic > (other.traffic or 0.0)
    return chosen.role == "baseline"


def _listed(model: ModelSettings) -> tuple[VersionSettings, ...]:
    if model.versions.kind != "listed":
        raise ControlError(
            f"model {model.name} has versions by {{{model.versions.kind}}}; list them in the manifest to split calls"
        )
    return model.versions.listed


def _entry(listed: tuple[VersionSettings, ...], model: ModelSettings, version: int) -> VersionSettings:
    for entry in listed:
        if entry.version == version:
            return entry
    known = ", ".join(str(entry.version) for entry in listed)
    raise ControlError(f"version {version} is not in the list of model {model.name}; there are {known}")


def _silent(entry: VersionSettings) -> VersionSettings:
    """Without calls of its own; a shadow stays one."""
    return entry if entry.shadow is not None else dataclasses.replace(entry, traffic=0.0)


def _with(model: ModelSettings, listed: list[VersionSettings]) -> ModelSettings:
    labels = tuple((entry.label, entry.version) for entry in listed if entry.label is not None)
    return dataclasses.replace(model, versions=dataclasses.replace(model.versions, listed=tuple(listed)), labels=labels)
