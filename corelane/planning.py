"""The demands of a manifest's versions on a host, from kept profiles, and the versions without a profile."""

import contextlib
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corelane.processor.errors import ControlError, LoadError
from corelane.processor.knobs import cache_folder
from corelane.processor.loading.choice import chosen_before
from corelane.processor.manifest import Manifest, ModelSettings
from corelane.processor.manifest.paths import numbered_folders
from corelane.processor.supervisor.demands import demand_of
from corelane.scheduler import Demand, Profile

RATE_PER_S = 100.0
_AMOUNT_MAX = 1e9
_SLO_MS_MIN = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplanned:
    """A version without a known demand; `version` is None if the model has no version."""

    model: str
    version: int | None
    why: str
    mend: str

    @property
    def name(self) -> str:
        return f"{self.model}/{'*' if self.version is None else self.version}"


@dataclass(slots=True)
class Demands:
    """The demands of a manifest. `precisions` are by version; `notes` are sentences about assumptions."""

    demands: list[Demand] = field(default_factory=list)
    unplanned: list[Unplanned] = field(default_factory=list)
    precisions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Assumptions that replace the manifest's: requests a second by model or version, a `scale` for all rates, and p99
    objectives in ms by model. Requests have `rows` rows."""

    rates: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    slos: Mapping[str, float] = field(default_factory=dict)
    rows: int = 1


def demands_of(manifest: Manifest, what_if: WhatIf) -> Demands:
    """The demands. ControlError for a rate or an objective of an unknown model or version."""
    demands = Demands()
    names: list[str] = []
    for model in manifest.models:
        names += [model.name, *_add_model(model, what_if, demands)]
    _check_known("--rate", what_if.rates, names)
    _check_known("--slo", what_if.slos, [model.name for model in manifest.models])
    return demands


def amounts(option: str, texts: Sequence[str], form: str) -> dict[str, float]:
    """The numbers of NAME=NUMBER texts by name. ControlError for another form, or for a name that occurs twice."""
    values: dict[str, float] = {}
    for text in texts:
        name, _, written = text.rpartition("=")
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not name or not 0 <= value <= _AMOUNT_MAX or (option == "--slo" and not value >= _SLO_MS_MIN):
            raise ControlError(f"{option} should be {form}, not {text!r}")
        if name in values:
            raise ControlError(f"{option} {name} stands twice; keep one")
        values[name] = value
    return values


def _check_known(option: str, given: Mapping[str, float], names: Sequence[str]) -> None:
    for name in sorted(given.keys() - set(names)):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'no model'}"
        raise ControlError(f"{option} {name}: the manifest serves no such model or version; {hint}")


def _add_model(model: ModelSettings, what_if: WhatIf, demands: Demands) -> list[str]:
    """Adds a model's versions, and returns their names."""
    folders = _folders(model)
    versions = _served_versions(model, folders)
    if not versions:
        demands.unplanned.append(
            Unplanned(
                model=model.name,
                version=None,
                why=f"{model.path} has no version",
                mend=f"put one there, such as {model.path / '1'}",
            )
        )
    if model.name in what_if.slos:
        model = replace(model, slo_p99_ms=what_if.slos[model.name])
    entries = [model.settings_of(version) for version in versions]
    shares = [entry.traffic or 0.0 for entry in entries]
    if sum(shares) == 0:
        shares = [0.0 if entry.shadow is not None else 1.0 for entry in entries]
    total = what_if.rates.get(model.name, RATE_PER_S)
    names = []
    for version, share in zip(versions, shares, strict=True):
        name = f"{model.name}/{version}"
        names.append(name)
        shadow = model.settings_of(version).shadow
        own = total * (share / (sum(shares) or 1.0) if shadow is None else shadow / 100)
        rate = what_if.rates.get(name, own) * what_if.scale
        profile = _profile(model, version, folders, demands)
        if profile is None:
            continue
        demand = demand_of(model, version, profile, rate)
        demands.demands.append(replace(demand, batches=((float(what_if.rows), 1.0),)))
        demands.precisions[name] = profile.precision
        if profile.cost is None:
            demands.notes.append(
                f"{name} could not be measured, since it takes no request that can be made up; "
                f"{demand.cost.fixed_ms:g} ms a request is assumed: add assets.extra/tf_serving_warmup_requests"
            )
    return names


def _folders(model: ModelSettings) -> dict[int, Path]:
    try:
        return numbered_folders(model.path)[0] if model.path.is_dir() else {}
    except OSError as error:
        raise LoadError(f"{model.path} cannot be read: {error.strerror}") from error


def _served_versions(model: ModelSettings, folders: Mapping[int, Path]) -> list[int]:
    """The versions that the manifest would serve."""
    if model.versions.kind == "listed":
        return [entry.version for entry in model.versions.listed]
    return sorted(folders)[-model.versions.latest :] if model.versions.kind == "latest" else sorted(folders)


def _profile(model: ModelSettings, version: int, folders: Mapping[int, Path], demands: Demands) -> Profile | None:
    """The profile of a version; without one, None, and an entry in `unplanned` with the remedy."""
    why, mend = f"{model.path / str(version)} is not there", "put its folder there"
    if version in folders:
        folder = folders[version].resolve()
        try:
            profile = _saved_profile(model, folder)
        except LoadError as error:
            why, mend = str(error), "mend the version's files"
        else:
            if profile is not None:
                return profile
            engine = f" --engine {model.engine}" if model.engine != "auto" else ""
            threads = f" --threads {model.threads_per_session}" if model.threads_per_session > 1 else ""
            precision = f" --precision {model.precision}" if model.precision != "fp32" else ""
            why, mend = (
                "it was never profiled on this machine",
                f"corelane profile {folder}{engine}{threads}{precision}",
            )
    demands.unplanned.append(Unplanned(model=model.name, version=version, why=why, mend=mend))
    return None


def _saved_profile(model: ModelSettings, folder: Path) -> Profile | None:
    from corelane.processor.loading import profiling

    engine, loaded = chosen_before(folder, model.engine, cache_folder(), model.op_libraries, model.saved_model_tags)
    precisions = ["bf16", "fp32"] if model.precision == "auto" else [model.precision]
    path = profiling.path_of(cache_folder(), engine, loaded, model.threads_per_session)
    with contextlib.closing(profiling.ProfileFile.open_to_read(path)) as file:
        for precision in precisions:
            if (profile := file.read(precision)) is not None:
                return profile
    return None
