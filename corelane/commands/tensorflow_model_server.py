"""`corelane tensorflow_model_server` and `corelane import`: TensorFlow Serving's command line."""

import argparse
import os
import sys
from typing import Any

from corelane.commands.common import add_command
from corelane.processor.knobs import ADMIN, cache_folder, value
from corelane.processor.manifest.tensorflow_flags import Converted, convert
from corelane.processor.manifest.text.dump import to_yaml
from corelane.processor.version import VERSION
from corelane.terminal import say

_SERVER = """\
Takes the flags of TensorFlow Serving's tensorflow_model_server and serves as it does: on all addresses, with messages
of up to 2 GiB, and with the same configuration files. Ports open when the models are loaded. One warning names the
flags that change no answer. Unsupported flags that decide what is served, or who may call, are refused. In a container,
MODEL_NAME and MODEL_BASE_PATH work as in TensorFlow Serving's image.

  corelane tensorflow_model_server --rest_api_port=8501 --model_name=ctr --model_base_path=/models/ctr
  corelane tensorflow_model_server --model_config_file=models.config --model_config_file_poll_wait_seconds=60
"""
_IMPORT = """\
Prints the manifest that TensorFlow Serving's flags, and the files that they name, amount to; as comments what it does
not say. From there on, roles, SLOs and splits are yours to add.

  corelane import --model_config_file=models.config --enable_batching > manifest.yaml
"""
RAW = ("tensorflow_model_server", "import")  # their flags are not ours to parse


def add_parser(commands: Any) -> None:
    add_command(commands, "tensorflow_model_server", run_server, "serve with TensorFlow Serving's flags", _SERVER)
    add_command(commands, "import", run_import, "TensorFlow Serving's flags as a manifest", _IMPORT)


def run_server(options: argparse.Namespace) -> int:
    converted = _converted(options.flags)
    if converted.only_version:
        say(f"Corelane {VERSION}, as TensorFlow ModelServer")
        return 0
    # The server's imports would double the start of every other command.
    from corelane.processor.supervisor.serve import serve_flags

    serve_flags(converted)
    return 0


def run_import(options: argparse.Namespace) -> int:
    converted = _converted(options.flags)
    for sentence in converted.not_carried:
        say(f"# {sentence}")
    for model in converted.manifest.models:
        if model.labels and model.versions.kind != "listed":
            labels = ", ".join(f"{label} for version {version}" for label, version in model.labels)
            say(f"# labels of model {model.name} ({labels}): list its versions to have them")
    if converted.poll_s:
        say(f"# {converted.config_file} was read every {converted.poll_s:g} s; this file is watched instead")
    sys.stdout.write(to_yaml(converted.manifest))
    return 0


def _converted(flags: list[str]) -> Converted:
    return convert(flags, value(ADMIN), os.environ, cache_folder())
