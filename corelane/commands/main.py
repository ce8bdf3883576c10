"""`corelane`: parses the command line and maps errors to exit codes."""

import argparse
import os
import sys

from corelane.commands import (
    apply,
    check,
    compile,
    demo,
    plan,
    predict,
    profile,
    replay,
    report,
    serve,
    status,
    tensorflow_model_server,
    traffic,
)
from corelane.commands.common import say
from processor import logs
from processor.errors import CorelaneError, ManifestError, StartError

_EPILOG = """\
exit codes: 0 fine, 1 failed, 2 bad usage or a bad manifest

a first look:
  corelane demo                          train small models, serve them, call them, report
from TensorFlow Serving:
  corelane tensorflow_model_server ...   its own flags; corelane import prints them as a manifest
a server of your own:
  corelane check manifest.yaml           is it right? each error names its line
  corelane serve manifest.yaml           in the foreground; Ctrl-C drains and ends it
  corelane status                        who serves what, from another terminal
  corelane report                        who has which cores, and why
  corelane promote ctr 4                 all calls to version 4; corelane rollback ctr undoes it
  corelane compile models/ctr plan       a SavedModel, made faster
  corelane predict ctr --inputs '{"x": [1.0]}'
"""

# In the order of their help.
_COMMANDS = (
    *(demo, serve, tensorflow_model_server, check, apply, status, report, traffic),
    *(plan, profile, compile, predict, replay),
)


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with the exit code."""
    parser = argparse.ArgumentParser(
        prog="corelane",
        description="Serves many recommendation models from one CPU host, over TensorFlow Serving's gRPC API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    options, flags = parser.parse_known_args(arguments)
    if flags and options.command not in tensorflow_model_server.RAW:
        parser.error(f"unrecognized arguments: {' '.join(flags)}")
    options.flags = flags
    try:
        logs.configure("%(asctime)s %(levelname)s %(message)s")
        code = options.run(options)
    except (ManifestError, StartError) as error:
        say(error, file=sys.stderr)
        code = 2
    except CorelaneError as error:
        say(f"corelane {options.command}: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has all it wants.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
