"""From the manifest and what is on disk to the versions that should run."""

from collections.abc import Collection, Mapping

from corelane.processor.control.worker_spec import WorkerSpec
from corelane.processor.manifest import Manifest, ModelSettings
from corelane.processor.supervisor.files.folders import ModelFolder, VersionFolder
from corelane.processor.supervisor.lifecycle import Wanted, WantedModel


def wanted_models(
    manifest: Manifest,
    folders: Mapping[str, ModelFolder],
    serving: Mapping[str, Collection[int]],
    unseen: Collection[str],
    cores: int,
    profiles: str = "",
) -> list[WantedModel]:
    """What should run, in the manifest's order: of each model, the folders that its policy chooses among the complete
    ones and those that are `serving`. `unseen`: models whose folder is to be looked at first."""
    models = []
    for model in manifest.models:
        folder = folders.get(model.name, ModelFolder())
        chosen = _chosen(model, folder, serving.get(model.name, ()))
        models.append(
            WantedModel(
                name=model.name,
                keep_unwanted=model.versions.kind != "listed",
                versions=tuple(
                    Wanted(
                        spec=_spec(manifest, model, version, cores, profiles),
                        fingerprint=version.fingerprint,
                        load_timeout_ns=int(model.load_timeout_s * 1e9),
                    )
                    for version in chosen
                    if version.waiting_for is None
                ),
                held=frozenset(version.version for version in chosen if version.waiting_for is not None),
                is_seen=model.name in folders and model.name not in unseen,
                is_coming=any(version.is_coming for version in folder.versions),
            )
        )
    return models


def waiting_versions(model: ModelSettings, folder: ModelFolder) -> dict[int, str]:
    """The versions that wait for their files, and for what."""
    waiting = {found.version: found.waiting_for for found in folder.versions if found.waiting_for is not None}
    found_versions = {found.version for found in folder.versions}
    for entry in model.versions.listed:
        if entry.version not in found_versions:
            waiting[entry.version] = folder.problem or f"{model.path / str(entry.version)} does not exist"
    return waiting


def _chosen(model: ModelSettings, folder: ModelFolder, serving: Collection[int]) -> list[VersionFolder]:
    """One whose files change while it serves is still that version. One in doubt takes no other's place before it
    serves: it may well not load."""
    chosen: list[VersionFolder] = []
    sure = 0
    for version in sorted(folder.versions, key=lambda found: found.version, reverse=True):
        if model.versions.kind == "latest" and sure >= model.versions.latest:
            break
        if version.waiting_for is None or version.version in serving:
            chosen.append(version)
            sure += version.version in serving or not version.doubt
    return chosen[::-1]


def _spec(manifest: Manifest, model: ModelSettings, folder: VersionFolder, cores: int, profiles: str) -> WorkerSpec:
    return WorkerSpec(
        model=model.name,
        version=folder.version,
        folder=str(folder.path),
        engine=model.engine,
        sessions=model.sessions or max(1, cores // model.threads_per_session),
        threads_per_session=model.threads_per_session,
        precision=model.precision,
        divergence_relative=model.max_divergence.relative,
        divergence_absolute=model.max_divergence.absolute,
        op_libraries=model.op_libraries,
        queue_capacity=model.queue.capacity,
        queue_timeout_ms=model.queue.timeout_ms,
        dispatch=model.dispatch,
        memory_bytes_max=model.memory_bytes_max,
        message_bytes_max=manifest.listen.message_bytes_max,
        tensor_content=model.tensor_content,
        checks_method=model.signature_method_name_check,
        saved_model_tags=model.saved_model_tags,
        batch_rows_max=model.batching.max_rows if model.batching else 0,
        batch_wait_us=model.batching.max_wait_us if model.batching else 0.0,
        pool_weight=model.pool_weight,
        run_timeout_s=model.run_timeout_s,
        profile_folder=profiles,
    )
