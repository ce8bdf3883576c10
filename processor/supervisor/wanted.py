"""From the manifest and what is on disk to the versions that should run."""

from collections.abc import Mapping

from processor.manifest import Manifest, ModelSettings
from processor.supervisor.folders import ModelFolder, VersionFolder
from processor.supervisor.lifecycle import Wanted, WantedModel
from processor.worker.spec import WorkerSpec


def wanted_models(
    manifest: Manifest, folders: Mapping[str, ModelFolder], cores: int, profiles: str = ""
) -> list[WantedModel]:
    """What should run, in the manifest's order: of each model, the complete folders that its policy chooses."""
    return [
        WantedModel(
            name=model.name,
            keep_unwanted=model.versions.kind != "listed",
            versions=tuple(
                Wanted(
                    spec=_spec(manifest, model, folder, cores, profiles),
                    fingerprint=folder.fingerprint,
                    load_timeout_ns=int(model.load_timeout_s * 1e9),
                )
                for folder in _chosen(model, folders.get(model.name, ModelFolder()))
            ),
        )
        for model in manifest.models
    ]


def waiting_versions(model: ModelSettings, folder: ModelFolder) -> dict[int, str]:
    """The versions that wait for their files, and for what."""
    waiting = {found.version: found.waiting_for for found in folder.versions if found.waiting_for is not None}
    found_versions = {found.version for found in folder.versions}
    for entry in model.versions.listed:
        if entry.version not in found_versions:
            waiting[entry.version] = folder.problem or f"{model.path / str(entry.version)} does not exist"
    return waiting


def _chosen(model: ModelSettings, folder: ModelFolder) -> list[VersionFolder]:
    complete = [found for found in folder.versions if found.waiting_for is None]
    complete.sort(key=lambda found: found.version, reverse=True)
    if model.versions.kind == "latest":
        complete = complete[: model.versions.latest]
    return sorted(complete, key=lambda found: found.version)


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
        profile_folder=profiles,
    )
