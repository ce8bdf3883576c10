"""The command line, as `corelane` and as `python -m corelane`. What it needs comes with an extra, which this tells."""

import sys
from importlib.util import find_spec

# The modules that the extra `server` brings, beside those that the client needs, too.
SERVER_MODULES = (
    *("argcomplete", "google_crc32c", "grpc_health", "grpc_reflection", "httptools", "orjson", "prometheus_client"),
    *("psutil", "pydantic", "rich", "ruamel.yaml", "starlette", "uvicorn", "uvloop", "yaml", "zstandard"),
)
NATIVE_MODULES = ("corelane.kernels._native", "corelane.processor._native", "corelane.scheduler._native")


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with the exit code."""
    problem = _missing()
    if problem:
        sys.exit(f"corelane: {problem}")
    try:
        from corelane.commands.main import main as run
    except KeyboardInterrupt:  # while all of it is being imported
        sys.exit(130)
    run(arguments)


def _missing() -> str:
    """Why there are no commands here; empty if there are."""
    if not all(_is_there(name) for name in NATIVE_MODULES):
        return "this installation has the client only, as on every system but Linux: serve on Linux"
    missing = [name for name in SERVER_MODULES if not _is_there(name)]
    if missing:
        return f"commands need what serving needs, and {missing[0]} is not installed: pip install 'corelane[server]'"
    return ""


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


if __name__ == "__main__":
    main()
