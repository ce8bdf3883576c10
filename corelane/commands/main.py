# PYTHON_ARGCOMPLETE_OK
"""`corelane`: parses the command line and maps errors to exit codes."""

import argparse
import errno
import os
import sys

from corelane.commands import (
    apply,
    check,
    compile,
    completion,
    demo,
    events,
    plan,
    predict,
    profile,
    replay,
    report,
    serve,
    status,
    tensorflow_model_server,
    top,
    traffic,
)
from corelane.commands import logs as logs_command
from corelane.commands.common import Parser
from corelane.processor import logs
from corelane.processor.errors import CorelaneError, ManifestError, StartError
from corelane.processor.version import VERSION
from corelane.terminal import say

_EPILOG = """\
exit codes: 0 success, 1 failure, 2 a wrong command line or manifest

a first look:
  corelane demo                          train small models, serve them, call them, report
from TensorFlow Serving:
  corelane tensorflow_model_server ...   takes its flags; corelane import prints them as a manifest
a server of your own:
  corelane check manifest.yaml           prints each error with its line
  corelane serve manifest.yaml           in the foreground; Ctrl-C drains and ends it
  corelane status                        models, versions and states, from another terminal
  corelane top                           live: rates, latency, queues, cores
  corelane events; corelane logs ctr     events and log lines
  corelane report                        the owner of each core, and why
  corelane promote ctr 4                 all calls to version 4; corelane rollback ctr undoes it
  corelane compile models/ctr plan       makes a SavedModel faster
  corelane predict ctr --inputs '{"x": [1.0]}'

corelane COMMAND --help explains a command, with examples.
"""

# In the order of their help.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF)
_COMMANDS = (
    *(demo, serve, tensorflow_model_server, check, apply, status, top, events, logs_command, report, traffic),
    *(plan, profile, compile, predict, replay, completion),
)


def parser_of_all() -> Parser:
    parser = Parser(
        prog="corelane",
        description="Serves many recommendation models from one CPU host, by TensorFlow Serving's and KServe's APIs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"corelane {VERSION}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with the exit code."""
    parser = parser_of_all()
    completion.answer_shell(parser)
    options, flags = parser.parse_known_args(arguments)
    if options.command is None and not flags:
        parser.print_help()
        sys.exit(0)
    if flags and options.command not in tensorflow_model_server.RAW:
        parser.commands().get(options.command, parser).error(f"unrecognized arguments: {' '.join(flags)}")
    options.flags = flags
    # Without a standard output or error, what would be said goes nowhere.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # its notes on how it was built
    try:
        logs.configure("%(asctime)s %(levelname)s %(message)s")
        code = options.run(options)
        sys.stdout.flush()
    except ManifestError as error:
        say(error.explained(), file=sys.stderr)
        code = 2
    except StartError as error:
        say(error, file=sys.stderr)
        code = 2
    except CorelaneError as error:
        say(f"corelane {options.command}: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has all it wants.
        _drop_output()
        code = 1
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        say(f"corelane {options.command}: the output cannot be written: {error.strerror}", file=sys.stderr)
        _drop_output()
        code = 1
    sys.exit(code)


def _drop_output() -> None:
    """What is still to be written goes nowhere, so that the end of the process does not try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
