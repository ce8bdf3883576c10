"""The memory allocator of TensorFlow's workers: oneTBB's, where it is installed (`corelane[tensorflow]` brings it).

TensorFlow allocates the outputs of every op of every run. With glibc's allocator that was a fifth of a run of the
bench's 200-column model; ARCHITECTURE.md has the figures. OpenVINO frees with one allocator what the other gave, so its
workers keep glibc's.
"""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path

from corelane.processor.control.worker_spec import WorkerSpec
from corelane.processor.engines import choose_engine
from corelane.processor.errors import LoadError
from corelane.processor.knobs import API_KEY

# The second takes malloc's place and needs the first, which no search path of the system leads to.
_LIBRARIES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")


def environment_of(spec: WorkerSpec) -> dict[str, str]:
    """The environment to start a version's worker in."""
    try:
        engine = choose_engine(Path(spec.folder), spec.engine)
    except LoadError:
        engine = ""  # the worker will say so
    found = worker_environment() if engine == "tensorflow" else dict(os.environ)
    # A client's key is no model's business.
    found.pop(API_KEY, None)
    # TensorFlow's notes on what it was built with are no worker's last words; its warnings stay.
    found.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # A sandbox holds for the thread that asks for it, so NumPy may have made none before.
    return {**found, "OPENBLAS_NUM_THREADS": "1"}


def environment_for(engine: str, environment: Mapping[str, str] = os.environ) -> dict[str, str] | None:
    """The environment that a worker should rather have, now that its engine is known; None if it has the right one."""
    if engine == "tensorflow" or _LIBRARIES[1] not in environment.get("LD_PRELOAD", ""):
        return None
    return {name: value for name, value in environment.items() if name != "LD_PRELOAD"}


def worker_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """That of TensorFlow's workers. An LD_PRELOAD that is set already is the operator's choice, and stays."""
    libraries = None if environment.get("LD_PRELOAD") else _find()
    return {**environment, "LD_PRELOAD": libraries} if libraries else dict(environment)


def _find() -> str | None:
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = {file.name: Path(str(file.locate())).resolve() for file in files if file.name in _LIBRARIES}
    if len(found) < len(_LIBRARIES) or not all(path.exists() for path in found.values()):
        return None
    return " ".join(str(found[name]) for name in _LIBRARIES)
