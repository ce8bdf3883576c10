"""`corelane predict`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from corelane.client import Client
from corelane.commands.common import add_command, add_json, add_server, version_argument
from corelane.processor.errors import InvalidRequest
from corelane.processor.knobs import API_KEY, value
from corelane.terminal import say

_DESCRIPTION = """\
Makes one prediction call. Inputs are JSON ({"name": nested lists}) or an .npz file of arrays; JSON values are
converted to the types and ranks of the model's signature. Without inputs, prints the model's signatures.

  corelane predict ctr
  corelane predict ctr --inputs '{"user_id": ["u1"], "price": [9.5]}'
  corelane predict ctr --inputs request.npz --label canary --timeout 0.2
"""


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "predict", run, "make one prediction call", _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--inputs", metavar="JSON|FILE", help="JSON, a .json file, an .npz file, or - for JSON on stdin"
    )
    add_server(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=version_argument, help="call this version")
    which.add_argument("--label", help="call the version with this label")
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="PEM file of the authority that signed the server's certificate; turns TLS on",
    )
    parser.add_argument(
        "--cert",
        metavar="FILE",
        help="PEM file of the client's certificate, for mutual TLS; needs --key",
    )
    parser.add_argument("--key", metavar="FILE", help="PEM file of the client's private key")
    parser.add_argument("--api-key", default=value(API_KEY) or None, help="key or JWT (default: $CORELANE_API_KEY)")
    parser.add_argument("--signature", default="", help="name of the signature (default: serving_default)")
    parser.add_argument("--outputs", default="", metavar="A,B", help="return only these outputs")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="deadline (default: %(default)s)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    with Client(
        options.server, ca=options.ca, certificate=options.cert, key=options.key, api_key=options.api_key, retries=0
    ) as client:
        target = {"version": options.version, "label": options.label, "timeout_s": options.timeout}
        if options.inputs is None:
            signatures = client.signatures(options.model, **target)
            say(json.dumps(signatures, indent=2) if options.json else _describe(signatures))
            return 0
        inputs = _read_inputs(options.inputs)
        outputs = [output for output in options.outputs.split(",") if output]
        arrays, version = client.predict_versioned(
            options.model, inputs, signature=options.signature, outputs=outputs, **target
        )
    plain = {name: _plain(array) for name, array in sorted(arrays.items())}
    if options.json:
        say(json.dumps({"model": options.model, "version": version, "outputs": plain}, indent=2))
    else:
        say(f"{options.model}/{version}")
        for name, array in sorted(arrays.items()):
            say(f"  {name} {list(array.shape)}: {json.dumps(plain[name])}")
    return 0


def _describe(signatures: dict[str, Any]) -> str:
    lines = []
    for name, signature in signatures.items():
        lines.append(f"signature {name}")
        for kind in ("inputs", "outputs"):
            for tensor, (dtype, shape) in signature[kind].items():
                lines.append(f"  {kind[:-1]} {tensor}: {dtype} {'of unknown rank' if shape is None else shape}")
    return "\n".join(lines)


def _read_inputs(text: str) -> Any:
    if text.endswith(".npz"):
        try:
            with np.load(text) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"{text} cannot be read: {error}") from error
    try:
        if text == "-":
            document = json.load(sys.stdin)
        else:
            document = json.loads(text if text.lstrip().startswith(("{", "[")) else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"inputs are neither JSON nor a file of it: {error}") from error
    if not isinstance(document, dict | list):
        raise InvalidRequest('inputs should be a JSON object, {"name": values}, or a list of rows, [{"name": value}]')
    return document


def _plain(array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        flat = np.array([item.decode(errors="replace") for item in array.ravel().tolist()], object)
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], -1).tolist()
    if array.dtype.kind not in "biuf":
        return array.astype(np.float32).tolist()
    return array.tolist()
