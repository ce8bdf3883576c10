"""The command line, as `corelane` and as `python -m corelane`. It names the extra to install if modules are missing."""

import sys
from importlib.util import find_spec

# The modules of the extra `server` that the client does not need.
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
    except KeyboardInterrupt:  # during the imports
        sys.exit(130)
    run(arguments)


def _missing() -> str:
    """Why commands cannot run; empty if they can."""
    if not all(_is_there(name) for name in NATIVE_MODULES):
        return "this installation has the client only, as on every system but Linux: serve on Linux"
    missing = [name for name in SERVER_MODULES if not _is_there(name)]
    if missing:
        return f"commands need what serving needs, and {missing[0]} is not installed: pip install 'corelane[server]'"
    return ""


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


if __name__ == "__main__":
    main()
