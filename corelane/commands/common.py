"""What several commands share."""

import argparse
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from processor.errors import ControlError
from processor.logs import escaped
from processor.manifest import ListenSettings
from processor.version_numbers import not_a_version, version_number

_TIMEOUT_S = 10


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str
) -> argparse.ArgumentParser:
    """A subcommand whose --help is `description`, examples and all."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_admin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        default=os.environ.get("CORELANE_ADMIN", ListenSettings().admin),
        metavar="HOST:PORT",
        help="the server's admin address (default: $CORELANE_ADMIN, else %(default)s)",
    )


def version_argument(text: str) -> int:
    """The type of an argument that names a version."""
    version = version_number(text)
    if version is None:
        raise argparse.ArgumentTypeError(not_a_version(text))
    return version


def call_admin(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The admin API's answer. ControlError if the server is not there or refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data=data)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        try:
            problems = json.load(error)["problems"]
        except (ValueError, KeyError):
            problems = [f"the server at {address} answered {error.code}"]
        raise ControlError("\n".join(problems)) from None
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ControlError(
            f"no server answers on {address} ({reason}); is `corelane serve` running? see --admin"
        ) from None


def say(text: object, file: TextIO | None = None) -> None:
    """Prints lines of text that may come from anywhere: names, paths, and what models wrote."""
    print("\n".join(escaped(line) for line in str(text).split("\n")), file=file, flush=file is not None)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns; numbers to the right."""
    cells = [list(header), *[["-" if cell is None else escaped(str(cell)) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(
            row[column].replace(".", "").replace("-", "").replace("%", "").isdecimal() or row[column] == "-"
            for row in cells[1:]
        )
        for column in range(len(header))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)
