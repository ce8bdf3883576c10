"""TensorFlow Serving's command line as a manifest: what `tensorflow_model_server` was started with, and its files.

Facts of the flags and their defaults: tensorflow/serving, model_servers/main.cc and server.h, release 2.19.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from corelane.processor.control.gateway_settings import TlsSettings
from corelane.processor.errors import InvalidRequest, StartError
from corelane.processor.manifest.paths import form_problem, name_problem, shown
from corelane.processor.manifest.settings import (
    BatchingSettings,
    HostSettings,
    ListenSettings,
    Manifest,
    ModelSettings,
    QueueSettings,
    RequestLogSettings,
    VersionPolicy,
    VersionSettings,
)
from corelane.processor.manifest.text.files import read_text
from corelane.processor.system.cache_files import not_kept, write_whole
from corelane.processor.wire import messages

_MESSAGE_BYTES_MAX = 2**31 - 1  # TensorFlow Serving's
_PLATFORM = "tensorflow"
_QUEUE_TIMEOUT_MS = 30_000.0  # it has none; a call without a deadline should not wait for ever

# Flags that mean something here; their type is their default's.
_DEFAULTS: dict[str, Any] = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_timeout_in_ms": 30_000,
    "model_name": "default",
    "model_base_path": "",
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": 0,
    "file_system_poll_wait_seconds": 1,
    "enable_batching": False,
    "batching_parameters_file": "",
    "monitoring_config_file": "",
    "ssl_config_file": "",
    "tensorflow_session_parallelism": 0,
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "saved_model_tags": "serve",
    "enable_model_warmup": True,
    "enable_signature_method_name_check": False,
    "enable_serialization_as_tensor_content": False,
    "mixed_precision": "",
    "version": False,
}
# Flags that it has and that need nothing here, because what they ask for is so anyhow.
_GIVEN = {
    "allow_version_labels_for_unavailable_models", "enable_grpc_healthcheck_service",
    "force_allow_any_version_labels_for_unavailable_models",
}  # fmt: skip
# Flags that it has and that have no meaning here: no answer is another for them.
_MEANINGLESS = {
    "enable_profiler", "experimental_cc_shared_library", "flush_filesystem_caches", "grpc_channel_arguments",
    "grpc_max_threads", "load_retry_interval_micros", "max_num_load_retries", "num_load_threads",
    "num_request_iterations_for_warmup", "num_tflite_interpreters_per_pool", "num_tflite_pools", "num_unload_threads",
    "per_process_gpu_memory_fraction", "remove_unused_fields_from_bundle_metagraph", "rest_api_num_threads",
    "skip_initialize_tpu", "thread_pool_factory_config_file",
}  # fmt: skip
# Flags that decide what is served, or who may call, and that cannot be had: with another value than their default the
# server does not start. A server without them would serve something else, or serve others.
_REFUSED: dict[str, tuple[Any, str]] = {
    "use_alts_credentials": (False, "clients would not be authenticated; use --ssl_config_file"),
    "use_tflite_model": (False, "TensorFlow Lite models are not served"),
    "prefer_tflite_model": (False, "TensorFlow Lite models are not served"),
    "platform_config_file": ("", "platforms cannot be configured; write a manifest (corelane import)"),
    "tensorflow_session_config_file": ("", "sessions cannot be configured; write a manifest (corelane import)"),
    "tensorflow_session_run_timeout_in_ms": (0, "runs have no limit of their own; give calls a deadline"),
    "enable_per_model_batching_parameters": (
        False,
        "batching_params.pbtxt of models is not read; say batching of each in a manifest (corelane import)",
    ),
    "xla_cpu_compilation_enabled": (False, "XLA is not switched on"),
    "xla_gpu_compilation_enabled": (False, "models run on CPUs"),
    "enable_cors_support": (False, "no CORS headers are sent; put a proxy before it"),
    "rest_api_enable_cors_support": (False, "no CORS headers are sent; put a proxy before it"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """`not_carried`: sentences on what the manifest does not say. `config_file` is read again every `poll_s` seconds,
    if there is one and that is not 0; folders are looked at every `watch_s` seconds. `only_version`: to be told what
    this is, and no more."""

    manifest: Manifest
    not_carried: tuple[str, ...] = ()
    config_file: Path | None = None
    poll_s: float = 0.0
    watch_s: float = 1.0
    rest_timeout_s: float = 30.0
    only_version: bool = False


def convert(flags: Sequence[str], admin: str, environment: Mapping[str, str], cache: Path) -> Converted:
    """The manifest that a command line amounts to. StartError for a flag that TensorFlow Serving does not have, a value
    that is none, or a file that cannot be read. With MODEL_NAME or MODEL_BASE_PATH in the environment, defaults are
    those of its container's entry point. Private keys of `--ssl_config_file` are kept below `cache`."""
    values, not_carried = _parse(flags)
    if "MODEL_NAME" in environment or "MODEL_BASE_PATH" in environment:
        name = environment.get("MODEL_NAME", "model")
        values = {
            "rest_api_port": 8501,
            "model_name": name,
            "model_base_path": f"{environment.get('MODEL_BASE_PATH', '/models')}/{name}",
            **values,
        }
    chosen = {**_DEFAULTS, **values}
    if chosen["version"]:
        return Converted(manifest=Manifest(), only_version=True)
    template = _template(chosen, not_carried)
    config_file = Path(chosen["model_config_file"]) if chosen["model_config_file"] else None
    manifest = Manifest(
        listen=_listen(chosen, admin, cache, not_carried),
        host=HostSettings(cores=_cores(chosen, not_carried)),
        models=_models(config_file, chosen, template, not_carried),
    )
    return Converted(
        manifest=manifest,
        not_carried=tuple(not_carried),
        config_file=config_file,
        poll_s=float(chosen["model_config_file_poll_wait_seconds"]),
        watch_s=_watch_s(chosen["file_system_poll_wait_seconds"]),
        rest_timeout_s=chosen["rest_api_timeout_in_ms"] / 1000,
    )


def reread(converted: Converted) -> Manifest:
    """The manifest with its models as the config file has them now. StartError if that cannot be read."""
    assert converted.config_file is not None
    template = dataclasses.replace(converted.manifest.models[0], labels=(), versions=VersionPolicy(), request_log=None)
    return dataclasses.replace(converted.manifest, models=_from_config(converted.config_file, template, []))


def _parse(flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    meaningless: list[str] = []
    for flag in flags:
        name, equals, text = flag.removeprefix("--").partition("=")
        if not flag.startswith("--"):
            raise StartError(f"{flag} is no flag; TensorFlow Serving's are written --name=value")
        if name in _MEANINGLESS:
            meaningless.append(f"--{name}")
        elif name in _DEFAULTS:
            values[name] = _value(name, _DEFAULTS[name], text if equals else None)
        elif name in _REFUSED:
            default, reason = _REFUSED[name]
            if _value(name, default, text if equals else None) != default:
                raise StartError(f"--{name} is not offered: {reason}")
        elif name not in _GIVEN:
            raise StartError(f"--{name} is not a flag of TensorFlow Serving's tensorflow_model_server")
    sentences = [f"these flags have no meaning here: {', '.join(sorted(meaningless))}"] if meaningless else []
    return values, sentences


def _value(name: str, default: Any, text: str | None) -> Any:
    if isinstance(default, bool):
        if text in (None, "true", "1", "True"):
            return True
        if text in ("false", "0", "False"):
            return False
    elif text is not None and isinstance(default, str):
        return text
    elif text is not None:
        try:
            return int(text)
        except ValueError:
            raise StartError(f"--{name} should be a whole number, not {text!r}") from None
    raise StartError(f"--{name} should be written --{name}=value, not {text!r}")


def _template(chosen: Mapping[str, Any], not_carried: list[str]) -> ModelSettings:
    """What all models have in common."""
    batching, queue = None, QueueSettings(timeout_ms=_QUEUE_TIMEOUT_MS)
    if chosen["batching_parameters_file"] and not chosen["enable_batching"]:
        raise StartError("--batching_parameters_file needs --enable_batching")
    if chosen["enable_batching"]:
        parameters = messages.BatchingParameters()
        if chosen["batching_parameters_file"]:
            parameters = _read(chosen["batching_parameters_file"], messages.BatchingParameters)
        rows = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else 1000
        batching = BatchingSettings(max_rows=rows, max_wait_us=float(parameters.batch_timeout_micros.value))
        lost = [
            field.name
            for field, _ in parameters.ListFields()
            if field.name not in ("max_batch_size", "batch_timeout_micros", "thread_pool_name")
        ]
        if lost:
            not_carried.append(
                f"of the batching parameters: {', '.join(lost)}; queue.capacity and sessions stand for them"
            )
    if not chosen["enable_model_warmup"]:
        not_carried.append("--enable_model_warmup=false: versions are warmed up before they serve in any case")
    precision = {"": "fp32", "bfloat16": "bf16"}.get(chosen["mixed_precision"])
    if precision is None:
        raise StartError(f"--mixed_precision should be bfloat16, not {chosen['mixed_precision']!r}")
    return ModelSettings(
        name="",
        path=Path(),
        batching=batching,
        queue=queue,
        precision=precision,
        saved_model_tags=_tags(chosen["saved_model_tags"]),
        signature_method_name_check=chosen["enable_signature_method_name_check"],
        tensor_content=chosen["enable_serialization_as_tensor_content"],
    )


def _tags(text: str) -> tuple[str, ...]:
    tags = tuple(sorted({tag.strip() for tag in text.split(",")}))
    if "" in tags:
        raise StartError(f"--saved_model_tags should be tags with commas between them, not {text!r}")
    return tags


def _listen(chosen: Mapping[str, Any], admin: str, cache: Path, not_carried: list[str]) -> ListenSettings:
    metrics_path = None
    if chosen["monitoring_config_file"]:
        prometheus = _read(chosen["monitoring_config_file"], messages.MonitoringConfig).prometheus_config
        if prometheus.enable:
            metrics_path = prometheus.path or ListenSettings().metrics_path
    tls = None
    if chosen["ssl_config_file"]:
        tls = _tls(_read(chosen["ssl_config_file"], messages.SSLConfig), cache)
        if chosen["rest_api_port"]:
            not_carried.append("--ssl_config_file holds for REST here, too; there it is for gRPC only")
    if chosen["port"] == 0:
        not_carried.append("--port=0: gRPC cannot be off, and takes a free port of the loopback interface")
    return ListenSettings(
        grpc=f"0.0.0.0:{chosen['port']}" if chosen["port"] else "127.0.0.1:0",
        grpc_socket=_absolute(chosen["grpc_socket_path"]) if chosen["grpc_socket_path"] else None,
        http=f"0.0.0.0:{chosen['rest_api_port']}" if chosen["rest_api_port"] else None,
        admin=admin,
        message_bytes_max=_MESSAGE_BYTES_MAX,
        metrics_path=metrics_path,
        tls=tls,
    )


def _absolute(path: str) -> Path:
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise StartError(f"{path} should be an absolute path: the current folder is gone") from None


def _tls(config: Any, cache: Path) -> TlsSettings:
    """The contents as files, which is what TLS takes; for nobody else to read."""
    if not config.server_key or not config.server_cert:
        raise StartError("--ssl_config_file needs server_key and server_cert")
    if config.client_verify and not config.custom_ca:
        raise StartError("--ssl_config_file: client_verify needs custom_ca")
    digest = hashlib.sha256(config.SerializeToString()).hexdigest()[:16]
    folder = cache / "tls" / digest
    contents = (("key", config.server_key), ("certificate", config.server_cert), ("client_ca", config.custom_ca))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, text in contents:
            write_whole(folder / f"{name}.pem", text.encode(), mode=0o600)
    except OSError as error:
        raise StartError(f"--ssl_config_file: {not_kept('its contents', folder, error)}") from error
    written = {name: folder / f"{name}.pem" for name, _ in contents}
    return TlsSettings(
        key=written["key"],
        certificate=written["certificate"],
        client_ca=written["client_ca"] if config.client_verify else None,
    )


def _cores(chosen: Mapping[str, Any], not_carried: list[str]) -> int | None:
    """Their pools are the process's: the most that all calls together compute with."""
    names = ("session_parallelism", "intra_op_parallelism", "inter_op_parallelism")
    if all(chosen[f"tensorflow_{name}"] > 0 for name in names):
        raise StartError(
            "either --tensorflow_session_parallelism, or --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism: not all of them"
        )
    threads = max(chosen["tensorflow_session_parallelism"], chosen["tensorflow_intra_op_parallelism"])
    if threads <= 0:
        return None
    not_carried.append(
        f"TensorFlow's {threads} threads for all models became host.cores: {threads}; threads_per_session is what one "
        "request may use"
    )
    return int(threads)


def _models(
    config_file: Path | None, chosen: Mapping[str, Any], template: ModelSettings, not_carried: list[str]
) -> tuple[ModelSettings, ...]:
    if config_file is not None:
        return _from_config(config_file, template, not_carried)
    if not chosen["model_base_path"]:
        raise StartError("give --model_base_path, or --model_config_file for several models")
    path = _absolute(chosen["model_base_path"])
    _check(chosen["model_name"], path, (), "")
    return (dataclasses.replace(template, name=chosen["model_name"], path=path),)


def _from_config(file: Path, template: ModelSettings, not_carried: list[str]) -> tuple[ModelSettings, ...]:
    document = _read(str(file), messages.ModelServerConfig)
    if document.WhichOneof("config") != "model_config_list":
        raise StartError(f"{file} should have a model_config_list")
    models: list[ModelSettings] = []
    for config in document.model_config_list.config:
        if not config.name or not config.base_path:
            raise StartError(f"{file}: every model needs a name and a base_path")
        if config.model_platform not in ("", _PLATFORM) or config.model_type > 1:
            raise StartError(
                f"{file}: model {config.name} should have model_platform {_PLATFORM}, and no other model_type"
            )
        if any(model.name == config.name for model in models):
            raise StartError(f"{file}: model {config.name} is listed twice")
        try:
            versions = policy_of(config.model_version_policy, dataclasses.replace(template, name=config.name))
        except InvalidRequest as error:
            raise StartError(f"{file}: {error}") from error
        _check(config.name, Path(config.base_path), config.version_labels, f"{file}: ")
        labels = tuple(sorted(config.version_labels.items(), key=lambda item: (item[1], item[0])))
        models.append(
            dataclasses.replace(
                template,
                name=config.name,
                path=_absolute(config.base_path),
                versions=_with_labels(versions, labels),
                labels=labels,
                request_log=_log(config, not_carried),
            )
        )
    if not models:
        raise StartError(f"{file} lists no model")
    return tuple(models)


def _check(name: str, path: Path, labels: Iterable[str], where: str) -> None:
    """StartError for what cannot be a name, a label or a path. What is not on this host shows in status."""
    for text in (name, *labels):
        if problem := name_problem(text):
            raise StartError(f"{where}{shown(text)} cannot be the name of a model or a label: {problem}")
    if problem := form_problem(path):
        raise StartError(f"{where}model {name}: {problem}")


def policy_of(policy: Any, model: ModelSettings) -> VersionPolicy:
    """A ServableVersionPolicy as ours; versions that `model` lists keep what only ours can say. InvalidRequest if it is
    none."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(kind="all")
    if choice == "specific":
        if not policy.specific.versions:
            raise InvalidRequest(f"model {model.name}: a specific version policy must list versions")
        known = {entry.version: entry for entry in model.versions.listed}
        listed = (
            known.get(v, VersionSettings(version=v, role=model.role)) for v in sorted(set(policy.specific.versions))
        )
        return VersionPolicy(kind="listed", listed=tuple(listed))
    return VersionPolicy(kind="latest", latest=max(1, policy.latest.num_versions))


def _with_labels(policy: VersionPolicy, labels: Sequence[tuple[str, int]]) -> VersionPolicy:
    by_version = {version: label for label, version in labels}
    listed = tuple(dataclasses.replace(entry, label=by_version.get(entry.version)) for entry in policy.listed)
    return dataclasses.replace(policy, listed=listed)


def _log(config: Any, not_carried: list[str]) -> RequestLogSettings | None:
    rate = config.logging_config.sampling_config.sampling_rate
    prefix = config.logging_config.log_collector_config.filename_prefix
    if rate <= 0:
        return None
    if not prefix:
        not_carried.append(f"model {config.name}: logging_config without a filename_prefix")
        return None
    return RequestLogSettings(folder=_absolute(prefix).parent, percent=min(100.0, rate * 100))


def _watch_s(seconds: int) -> float:
    # 0: look once, and when asked to reload. So is less, which TensorFlow Serving keeps for its tests.
    return float(seconds) if seconds > 0 else math.inf


def _read(path: str, message: Callable[[], Any]) -> Any:
    """A message from its text. StartError for one that TensorFlow Serving would not read: what is misspelt must not be
    passed over."""
    parsed = message()
    try:
        return text_format.Parse(read_text(Path(path)), parsed)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{path} cannot be read: {error}") from error
    except text_format.ParseError as error:
        name = parsed.DESCRIPTOR.full_name
        raise StartError(f"{path}: Error parsing text-format {name}: {error}") from error
