"""`corelane completion`: commands, flags and the server's models, completed by the shell."""

import argparse
import os
from typing import Any

from corelane.commands.common import add_command

_DESCRIPTION = """\
Prints a script that makes your shell complete commands, flags, and the names of the server's models.

  eval "$(corelane completion bash)"      also in ~/.bashrc
  eval "$(corelane completion zsh)"
  corelane completion fish | source
"""
_SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Any) -> None:
    parser = add_command(commands, "completion", run, "have your shell complete commands and models", _DESCRIPTION)
    parser.add_argument("shell", choices=_SHELLS)


def run(options: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["corelane"], shell=options.shell))
    return 0


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """Completes, and ends the process, if it is a shell that asks."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
