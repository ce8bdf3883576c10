"""Arguments, help and admin calls that several commands share."""

import argparse
import difflib
import getpass
import json
import os
import re
import textwrap
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, Never

from corelane.processor.errors import ControlError, InvalidAddress
from corelane.processor.knobs import ADMIN, SERVER, value
from corelane.processor.wire.version_numbers import not_a_version, version_number

_TIMEOUT_S = 10
_COMPLETION_TIMEOUT_S = 1


class Parser(argparse.ArgumentParser):
    """Suggests the nearest command or flag for an unknown one."""

    def error(self, message: str) -> Never:
        known: list[str] = []
        wrong = ""
        if match := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
            known, wrong = [*self.commands()], match[1]
            message = f"there is no command {wrong}"
        elif match := re.search(r"unrecognized arguments: (-\S+)", message):
            wrong = match[1].split("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
        super().error(f"{message}; did you mean {near[0]}?" if near else message)

    def commands(self) -> dict[str, argparse.ArgumentParser]:
        """The subcommands by name; empty if the parser has none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the terminal's width; keeps indented lines, which are examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = []
        for paragraph in text.strip("\n").split("\n\n"):
            filled = paragraph if paragraph.startswith("  ") else textwrap.fill(" ".join(paragraph.split()), width)
            paragraphs.append(textwrap.indent(filled, indent))
        return "\n\n".join(paragraphs)


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str
) -> argparse.ArgumentParser:
    """Adds a subcommand; `description` is its --help, with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_admin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        default=value(ADMIN),
        metavar="HOST:PORT",
        help="the server's admin address (default: $CORELANE_ADMIN, else %(default)s)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        type=_server_address,
        default=value(SERVER),
        metavar="HOST:PORT",
        help="the server's gRPC address (default: $CORELANE_SERVER, else %(default)s)",
    )


def _server_address(text: str) -> str:
    from corelane.client.connection import checked_address  # other commands start without a client

    try:
        return checked_address(text)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_wide(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("wide",), help="wide: all columns, not only those that fit 80 characters"
    )


def add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-w",
        "--watch",
        nargs="?",
        const=2.0,
        type=seconds_argument,
        metavar="SECONDS",
        help="redraw every SECONDS (default: 2) until Ctrl-C",
    )


def add_model(parser: argparse.ArgumentParser, *, version: bool = False) -> None:
    """Adds an argument that names a model of the server, with `version` perhaps a version; shells complete it."""
    metavar = "MODEL[/VERSION]" if version else "MODEL"
    parser.add_argument("model", nargs="?", metavar=metavar, help="only this one").completer = complete_models  # type: ignore[attr-defined]


def seconds_argument(text: str) -> float:
    """The type of an argument in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} should be a number of seconds from 0.1 to 3600")
    return value


def version_argument(text: str) -> int:
    """The type of an argument that names a version."""
    version = version_number(text)
    if version is None:
        raise argparse.ArgumentTypeError(not_a_version(text))
    return version


def model_and_version(text: str | None, models: list[str]) -> tuple[str, int | None]:
    """Splits MODEL[/VERSION], for one of these models; ("", None) for no text. ControlError for another model."""
    if text is None:
        return "", None
    if text in models:
        return text, None
    name, slash, number = text.rpartition("/")
    version = version_number(number) if slash else None
    if name in models and version is not None:
        return name, version
    near = difflib.get_close_matches(text, models, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(models) or 'none'}"
    raise ControlError(f"there is no model {text}; {hint}")


def add_newest(parser: argparse.ArgumentParser, limit: int) -> None:
    """Adds the arguments that `newest` reads."""
    add_model(parser, version=True)
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        default=limit,
        metavar="N",
        help="number of entries, the newest (default: %(default)s)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="also print new entries until Ctrl-C")
    add_admin(parser)
    add_json(parser)


def newest(options: argparse.Namespace) -> dict[str, Any]:
    """The parameters for the admin API: model, version and limit."""
    names = [model["name"] for model in call_admin(options.admin, "/v1/status")["models"]] if options.model else []
    model, version = model_and_version(options.model, names)
    return {"model": model or None, "version": version, "limit": max(0, options.limit)}


def complete_models(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The names of the server's models, for shells; none if it does not answer at once."""
    try:
        status = call_admin(parsed_args.admin, "/v1/status", timeout_s=_COMPLETION_TIMEOUT_S)
    except ControlError:
        return []
    return [model["name"] for model in status["models"]]


def who() -> str:
    """The user of this command, for the server's events."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"user {os.getuid()}"


def query(path: str, **values: object) -> str:
    """A path with a query of the values that are not None."""
    given = {key: str(value) for key, value in values.items() if value is not None}
    return f"{path}?{urllib.parse.urlencode(given, errors='surrogateescape')}" if given else path


def call_admin(
    address: str, path: str, body: dict[str, Any] | None = None, timeout_s: float = _TIMEOUT_S
) -> dict[str, Any]:
    """The admin API's answer. ControlError if the server is not there or refuses."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(f"http://{address}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        try:
            problems = json.load(error)["problems"]
        except (ValueError, KeyError):
            problems = [f"the server at {address} answered {error.code}"]
        raise ControlError("\n".join(problems)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            more = "" if data is None else "; what was asked may still be done"
            raise ControlError(f"the server at {address} did not answer within {timeout_s:g} s{more}") from None
        raise ControlError(
            f"no server answers on {address} ({reason}); is `corelane serve` running there? see --admin"
        ) from None
