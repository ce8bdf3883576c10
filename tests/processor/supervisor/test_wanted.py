"""Which versions should run, of what a folder holds and what serves."""

from pathlib import Path

import pytest

from corelane.processor.manifest import Manifest, ModelSettings, VersionPolicy, VersionSettings
from corelane.processor.supervisor.files.folders import ModelFolder, VersionFolder
from corelane.processor.supervisor.lifecycle import WantedModel
from corelane.processor.supervisor.wanted import wanted_models

WHOLE, WAITING, STALLED, DOUBTFUL = "whole", "waiting", "stalled", "doubtful"


def version_folder(version: int, kind: str) -> VersionFolder:
    return VersionFolder(
        version=version,
        path=Path(f"/m/{version}"),
        fingerprint=f"of {version}",
        waiting_for="files" if kind in (WAITING, STALLED) else None,
        is_stalled=kind == STALLED,
        doubt="a partial copy" if kind == DOUBTFUL else "",
    )


def wanted(kinds: dict[int, str], policy: VersionPolicy, serving: set[int], unseen: set[str]) -> WantedModel:
    manifest = Manifest(models=(ModelSettings(name="m", path=Path("/m"), versions=policy),))
    folder = ModelFolder(versions=tuple(version_folder(version, kind) for version, kind in kinds.items()))
    (model,) = wanted_models(manifest, {"m": folder}, {"m": serving}, unseen, cores=2)
    return model


LATEST, TWO, ALL = VersionPolicy(), VersionPolicy(latest=2), VersionPolicy(kind="all")


@pytest.mark.parametrize(
    ("kinds", "policy", "serving", "versions", "held"),
    [
        ({1: WHOLE, 2: WHOLE}, LATEST, set(), [2], set()),
        ({1: WHOLE, 2: WHOLE, 3: WHOLE}, TWO, set(), [2, 3], set()),
        ({1: WHOLE, 2: WAITING}, LATEST, {1}, [1], set()),
        # What serves and changes is still the latest.
        ({1: WHOLE, 2: WAITING}, LATEST, {1, 2}, [], {2}),
        ({1: WHOLE, 2: WAITING}, ALL, {2}, [1], {2}),
        ({1: WHOLE, 2: WHOLE, 3: WAITING}, TWO, {2, 3}, [2], {3}),
        # What may not load takes no place before it serves.
        ({1: WHOLE, 2: DOUBTFUL}, LATEST, {1}, [1, 2], set()),
        ({1: WHOLE, 2: DOUBTFUL}, LATEST, {1, 2}, [2], set()),
        ({1: WHOLE, 2: WHOLE, 3: DOUBTFUL}, LATEST, set(), [2, 3], set()),
        ({2: DOUBTFUL}, LATEST, set(), [2], set()),
    ],
)
def test_chosen(
    kinds: dict[int, str], policy: VersionPolicy, serving: set[int], versions: list[int], held: set[int]
) -> None:
    model = wanted(kinds, policy, serving, set())
    assert [version.spec.version for version in model.versions] == versions
    assert model.held == held
    assert [version.fingerprint for version in model.versions] == [f"of {version}" for version in versions]


@pytest.mark.parametrize(
    ("kinds", "is_coming"), [({1: WHOLE}, False), ({1: WHOLE, 2: WAITING}, True), ({1: STALLED}, False), ({}, False)]
)
def test_coming(kinds: dict[int, str], is_coming: bool) -> None:
    assert wanted(kinds, LATEST, set(), set()).is_coming is is_coming


def test_seen() -> None:
    assert wanted({1: WHOLE}, LATEST, set(), set()).is_seen
    assert not wanted({1: WHOLE}, LATEST, set(), {"m"}).is_seen
    listed = VersionPolicy(kind="listed", listed=(VersionSettings(version=1),))
    manifest = Manifest(models=(ModelSettings(name="m", path=Path("/m"), versions=listed),))
    (model,) = wanted_models(manifest, {}, {}, set(), cores=2)
    assert not model.is_seen
    assert (model.versions, model.keep_unwanted) == ((), False)
