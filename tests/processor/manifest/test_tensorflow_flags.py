"""TensorFlow Serving's command line: what it amounts to, and a server that runs by it."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from corelane.processor.errors import StartError
from corelane.processor.manifest import parse_manifest, tensorflow_flags
from corelane.processor.manifest.tensorflow_flags import Converted, convert, reread
from corelane.processor.manifest.text.dump import to_yaml
from tests.support import onnx_models
from tests.support.certificates import Authority
from tests.support.client import PlainClient as Client
from tests.support.http import ask
from tests.support.server import Server, serving_flags, wait_until

CONFIG = """
model_config_list {
  config {
    name: "ctr" base_path: "/models/ctr" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
    version_labels { key: "canary" value: 4 }
    logging_config {
      log_collector_config { type: "tf_record" filename_prefix: "/logs/ctr" }
      sampling_config { sampling_rate: 0.02 }
    }
  }
  config { name: "all" base_path: "/models/all" model_version_policy { all {} } }
  config { name: "two" base_path: "/models/two" model_version_policy { latest { num_versions: 2 } } }
}
"""


def converted(folder: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Converted:
    return convert(flags, "127.0.0.1:8502", environment or {}, folder / "cache")


def test_one_model(tmp_path: Path) -> None:
    found = converted(tmp_path, "--model_name=m", "--model_base_path=/models/m", "--port=9000").manifest
    (model,) = found.models
    assert (model.name, model.path, model.versions.kind) == ("m", Path("/models/m"), "latest")
    listen = found.listen
    assert (listen.grpc, listen.http, listen.metrics_path) == ("0.0.0.0:9000", None, None)
    assert listen.message_bytes_max == 2**31 - 1


def test_the_image(tmp_path: Path) -> None:
    found = converted(tmp_path, environment={"MODEL_NAME": "ctr"}).manifest
    assert (found.models[0].name, found.models[0].path) == ("ctr", Path("/models/ctr"))
    assert (found.listen.grpc, found.listen.http) == ("0.0.0.0:8500", "0.0.0.0:8501")
    environment = {"MODEL_NAME": "ctr", "MODEL_BASE_PATH": "/mnt"}
    found = converted(tmp_path, "--rest_api_port=1", environment=environment).manifest
    assert (found.models[0].path, found.listen.http) == (Path("/mnt/ctr"), "0.0.0.0:1")


def test_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(CONFIG)
    found = converted(tmp_path, f"--model_config_file={tmp_path}/models.config").manifest
    ctr, every, two = found.models
    assert [(one.version, one.label) for one in ctr.versions.listed] == [(3, "stable"), (4, "canary")]
    assert dict(ctr.labels) == {"stable": 3, "canary": 4}
    assert ctr.request_log is not None
    assert (ctr.request_log.folder, ctr.request_log.percent) == (Path("/logs"), 2.0)
    assert (every.versions.kind, two.versions.latest) == ("all", 2)


def test_batching_monitoring_threads_and_precision(tmp_path: Path) -> None:
    (tmp_path / "batching").write_text(
        "max_batch_size { value: 64 }\nbatch_timeout_micros { value: 500 }\nnum_batch_threads { value: 8 }\n"
        "max_enqueued_batches { value: 100 }\n"
    )
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/prom" }')
    found = converted(
        tmp_path,
        "--model_base_path=/m",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path}/batching",
        f"--monitoring_config_file={tmp_path}/monitoring",
        "--tensorflow_intra_op_parallelism=4",
        "--mixed_precision=bfloat16",
        "--rest_api_timeout_in_ms=1500",
        "--grpc_max_threads=8",
        "--num_load_threads=4",
        "--enable_model_warmup=true",
        "--file_system_poll_wait_seconds=5",
    )
    (model,) = found.manifest.models
    assert model.batching is not None
    assert (model.batching.max_rows, model.batching.max_wait_us) == (64, 500)
    assert (model.precision, found.manifest.host.cores) == ("bf16", 4)
    assert found.manifest.listen.metrics_path == "/prom"
    assert (found.rest_timeout_s, found.watch_s) == (1.5, 5.0)
    assert found.not_carried[0] == "these flags have no meaning here: --grpc_max_threads, --num_load_threads"
    assert "max_enqueued_batches, num_batch_threads" in found.not_carried[1]


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.write("server")

    def text(path: Path) -> str:
        return path.read_text().replace("\n", "\\n")

    (tmp_path / "ssl").write_text(
        f'server_key: "{text(key)}"\nserver_cert: "{text(certificate)}"\ncustom_ca: "{text(authority.file)}"\n'
        "client_verify: true\n"
    )
    tls = converted(tmp_path, "--model_base_path=/m", f"--ssl_config_file={tmp_path}/ssl").manifest.listen.tls
    assert tls is not None and tls.client_ca is not None
    assert tls.key.read_text() == key.read_text()
    assert tls.client_ca.read_text() == authority.file.read_text()
    assert tls.key.stat().st_mode & 0o777 == 0o600
    assert tls.key.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --model_base_path"),
        (["--nonsense=1"], "--nonsense is not a flag of TensorFlow Serving's"),
        (["port=1"], "port=1 is no flag"),
        (["--port=x"], "--port should be a whole number, not 'x'"),
        (["--port"], "--port should be written --port=value"),
        (["--enable_batching=maybe"], "--enable_batching should be written"),
        (["--mixed_precision=int8", "--model_base_path=/m"], "--mixed_precision should be bfloat16"),
        (["--batching_parameters_file=b", "--model_base_path=/m"], "needs --enable_batching"),
        (["--model_config_file=/nothing"], "/nothing cannot be read"),
        (["--saved_model_tags=", "--model_base_path=/m"], "--saved_model_tags should be tags"),
        (["--use_alts_credentials=maybe", "--model_base_path=/m"], "--use_alts_credentials should be written"),
        (
            [
                *(f"--tensorflow_{name}_parallelism=2" for name in ("session", "intra_op", "inter_op")),
                "--model_base_path=/m",
            ],
            "either --tensorflow_session_parallelism, or",
        ),
    ],
)
def test_command_lines_that_are_wrong(tmp_path: Path, flags: list[str], message: str) -> None:
    with pytest.raises(StartError, match=message):
        converted(tmp_path, *flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense {", r"Error parsing text-format tensorflow\.serving\.ModelServerConfig: 1:"),
        ("improperly formatted file!\n", r"Error parsing text-format tensorflow\.serving\.ModelServerConfig: 1:"),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_version_polcy {} } }',
            r"Error parsing text-format tensorflow\.serving\.ModelServerConfig: .*model_version_polcy",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "tflite" } }',
            "model_platform tensorflow",
        ),
        ('model_config_list { config { name: "a" base_path: "/a" model_type: OTHER } }', "model_platform tensorflow"),
        ("", "should have a model_config_list"),
        ("model_config_list {}", "lists no model"),
        ('model_config_list { config { name: "a" } }', "every model needs a name and a base_path"),
        (
            'model_config_list { config { name: "a" base_path: "/a" } config { name: "a" base_path: "/b" } }',
            "listed twice",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_version_policy { specific {} } } }',
            "must list versions",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(StartError, match=message):
        converted(tmp_path, f"--model_config_file={tmp_path}/models.config")


@pytest.mark.parametrize(
    "flag",
    [
        "use_alts_credentials",
        "use_alts_credentials=true",
        "use_tflite_model",
        "prefer_tflite_model=1",
        "platform_config_file=/etc/platforms",
        "tensorflow_session_config_file=/etc/session",
        "tensorflow_session_run_timeout_in_ms=100",
        "enable_per_model_batching_parameters=true",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
        "rest_api_enable_cors_support=true",
    ],
)
def test_flags_that_decide_what_is_served_are_refused(tmp_path: Path, flag: str) -> None:
    name = flag.partition("=")[0]
    with pytest.raises(StartError, match=rf"^--{name} is not offered: "):
        converted(tmp_path, "--model_base_path=/m", f"--{flag}")


@pytest.mark.parametrize(
    "flag",
    [
        "use_alts_credentials=false",
        "prefer_tflite_model=0",
        "platform_config_file=",
        "tensorflow_session_run_timeout_in_ms=0",
        "rest_api_enable_cors_support=false",
    ],
)
def test_their_defaults_are_what_there_is(tmp_path: Path, flag: str) -> None:
    assert converted(tmp_path, "--model_base_path=/m", f"--{flag}").not_carried == ()


# As `tensorflow_model_server --help` has them.
HELP = [
    "port", "grpc_socket_path", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support", "enable_batching", "allow_version_labels_for_unavailable_models",
    "batching_parameters_file", "enable_per_model_batching_parameters", "model_config_file",
    "model_config_file_poll_wait_seconds", "model_name", "model_base_path", "num_load_threads",
    "num_unload_threads", "max_num_load_retries", "load_retry_interval_micros", "file_system_poll_wait_seconds",
    "flush_filesystem_caches", "tensorflow_session_parallelism", "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "use_alts_credentials",
    "ssl_config_file", "platform_config_file", "per_process_gpu_memory_fraction", "saved_model_tags",
    "grpc_channel_arguments", "grpc_max_threads", "enable_model_warmup", "num_request_iterations_for_warmup",
    "version", "monitoring_config_file", "remove_unused_fields_from_bundle_metagraph", "prefer_tflite_model",
    "num_tflite_pools", "num_tflite_interpreters_per_pool", "enable_signature_method_name_check",
    "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled", "enable_profiler",
    "thread_pool_factory_config_file", "mixed_precision", "skip_initialize_tpu",
    "enable_grpc_healthcheck_service", "enable_serialization_as_tensor_content",
]  # fmt: skip


@pytest.mark.parametrize("name", HELP)
def test_every_flag_of_its_help_is_one_of_four(name: str) -> None:
    """Honoured, so anyhow, without meaning, or refused; in one of them."""
    groups = (
        tensorflow_flags._DEFAULTS,
        tensorflow_flags._GIVEN,
        tensorflow_flags._MEANINGLESS,
        tensorflow_flags._REFUSED,
    )
    assert sum(name in group for group in groups) == 1


def test_what_models_are_told(tmp_path: Path) -> None:
    found = converted(
        tmp_path,
        "--model_base_path=/m",
        "--saved_model_tags=serve,tpu",
        "--enable_signature_method_name_check",
        "--enable_serialization_as_tensor_content=true",
        "--enable_model_warmup=false",
        "--port=0",
    )
    (model,) = found.manifest.models
    assert (model.saved_model_tags, model.signature_method_name_check) == (("serve", "tpu"), True)
    assert model.tensor_content
    assert found.manifest.listen.grpc == "127.0.0.1:0"
    assert found.not_carried == (
        "--enable_model_warmup=false: versions are warmed up before they serve in any case",
        "--port=0: gRPC cannot be off, and takes a free port of the loopback interface",
    )
    (plain,) = converted(tmp_path, "--model_base_path=/m").manifest.models
    assert (plain.saved_model_tags, plain.signature_method_name_check, plain.tensor_content) == (
        ("serve",),
        False,
        False,
    )


@pytest.mark.parametrize(
    ("flag", "text", "name"),
    [
        ("ssl_config_file", 'server_key: "k" server_cert: "c" client_verfy: true', "SSLConfig"),
        ("monitoring_config_file", "prometheus_config { enabled: true }", "MonitoringConfig"),
        ("batching_parameters_file", "max_batchsize { value: 3 }", "BatchingParameters"),
    ],
)
def test_what_is_misspelt_in_a_file_is_not_passed_over(tmp_path: Path, flag: str, text: str, name: str) -> None:
    """A misspelt client_verify would let anybody in."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(StartError, match=rf"Error parsing text-format tensorflow\.serving\.{name}: "):
        converted(tmp_path, "--model_base_path=/m", "--enable_batching", f"--{flag}={tmp_path}/file")


def test_a_bad_file_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("improperly formatted file!")
    result = run("tensorflow_model_server", f"--model_config_file={tmp_path}/models.config")
    assert result.returncode == 2
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in result.stderr


def test_tags_and_the_check_are_served(serving_models: Path, tmp_path: Path) -> None:
    shutil.copytree(serving_models / "heads", tmp_path / "heads")
    config = f'model_config_list {{ config {{ name: "heads" base_path: "{tmp_path}/heads" }} }}'
    (tmp_path / "models.config").write_text(config)
    flags = (f"--model_config_file={tmp_path}/models.config", "--enable_signature_method_name_check=true")
    with serving_flags(tmp_path, *flags) as server:
        server.wait_ready()
        body = {"signature_name": "regress", "examples": [{"x": 1.5}]}
        refused = ask(server.http, "POST", "/v1/models/heads:regress", body)
        assert (refused.status, "Expected regression signature method_name" in refused.json["error"]) == (400, True)
    (tmp_path / "tags").mkdir()
    flags = (f"--model_base_path={serving_models}/tags", "--model_name=tags", "--saved_model_tags=serve,gpu")
    with serving_flags(tmp_path / "tags", *flags) as server:
        server.wait_ready()
        assert ask(server.http, "POST", "/v1/models/tags:predict", {"instances": [1]}).json == {"predictions": [20.0]}


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corelane", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_import_prints_a_manifest_that_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(CONFIG.replace("latest { num_versions: 2 } }", "latest {} }"))
    flags = [
        f"--model_config_file={tmp_path}/models.config",
        "--rest_api_port=8501",
        "--enable_batching",
        "--grpc_max_threads=2",
    ]
    result = run("import", *flags)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("# these flags have no meaning here: --grpc_max_threads\n")
    assert parse_manifest(result.stdout, source="m", base=tmp_path) == converted(tmp_path, *flags).manifest
    assert len(yaml.safe_load(result.stdout)["models"]) == 3
    assert to_yaml(parse_manifest("models: []", source="m", base=tmp_path)) == "models: []\n"


def test_wrong_flags_exit_2() -> None:
    result = run("tensorflow_model_server", "--nonsense")
    assert (result.returncode, "--nonsense is not a flag" in result.stderr) == (2, True)
    result = run("tensorflow_model_server", "--version")
    assert (result.returncode, result.stdout.startswith("Corelane ")) == (0, True)
    assert run("status", "--nonsense").returncode == 2


def test_a_server_by_flags_follows_its_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        onnx_models.write_scale(tmp_path / f"{name}/1", 2)
    config = tmp_path / "models.config"
    one = 'config {{ name: "{0}" base_path: "{1}/{0}" }}'
    config.write_text(f"model_config_list {{ {one.format('a', tmp_path)} }}")
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    socket_path = tmp_path / "grpc.sock"
    flags = (
        *(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"),
        *(f"--grpc_socket_path={socket_path}", f"--monitoring_config_file={tmp_path}/monitoring"),
    )
    with serving_flags(tmp_path, *flags, environment={"MODEL_NAME": "ignored"}) as server:
        server.wait_ready()
        for address in (server.grpc, f"unix:{socket_path}"):
            with Client(address) as client:
                np.testing.assert_array_equal(client.predict("a", {"x": [1.5]})["y"], np.array([3], np.float32))
        config.write_text(f"model_config_list {{ {one.format('a', tmp_path)} {one.format('b', tmp_path)} }}")
        server.wait_state("b", 1, "AVAILABLE")
        config.write_text("nonsense {")
        wait_until(lambda: "is not applied" in server.log.read_text(), "the file's fault")
        assert server.version("a", 1)["state"] == "AVAILABLE"


def test_reread_keeps_what_flags_said(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(CONFIG)
    found = converted(tmp_path, f"--model_config_file={tmp_path}/models.config", "--enable_batching")
    assert reread(found) == found.manifest


def test_metrics_are_where_the_monitoring_file_says(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "a/1", 2)
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/prom" }')
    found = converted(tmp_path, f"--model_base_path={tmp_path}/a", f"--monitoring_config_file={tmp_path}/monitoring")
    text = to_yaml(found.manifest).replace("0.0.0.0:8500", "127.0.0.1:0").replace("http: none", "http: 127.0.0.1:0")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(text.replace("listen:\n", "listen:\n  admin: 127.0.0.1:0\n"))
    server = Server(manifest, tmp_path / "server.log")
    try:
        server.wait_ready()
        assert ":tensorflow:serving:request_count" in ask(server.http, "GET", "/prom").body.decode()
        assert ask(server.http, "GET", "/monitoring/prometheus/metrics").status == 404
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
