"""What a request of a version costs: measured when it is loaded, kept for the next time.

A profile is measured on the path that requests take, from their bytes to the response's, by batch size. It depends on
the model's files, the engine, the precision, the threads and the machine; all of these but the precision make its key.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from corelane.processor._native import PredictResult, PredictSession, PredictSettings
from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine, NativeEngine
from corelane.processor.errors import RequestError
from corelane.processor.loading.content import content_key
from corelane.processor.loading.phases import LoadPhase, OnPhase, OnStep, unheard, untold
from corelane.processor.plans.store import KEPT
from corelane.processor.serving.inference import Inference
from corelane.processor.system.cache_files import from_checked, not_kept, to_checked
from corelane.processor.trials import samples
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.tensor_types import Signature
from corelane.scheduler import Profile

_logger = logging.getLogger(__name__)

BATCHES = (1, 10, 100)
_RUNS_MIN, _RUNS_MAX = 5, 50
_SECONDS_MAX = 0.3  # by batch size
_BYTES_MAX = 1 << 30
_FILE_BYTES_MAX = 1 << 20


class ProfileFile:
    """Where the profiles of a version are kept, by precision: a file that is opened before the model may run and
    written after, when the process may open none any more. A write that is cut short shows in the checksum.

    Thread safety: one thread; any number of processes."""

    def __init__(self, descriptor: int | None, can_write: bool) -> None:
        self._descriptor = descriptor
        self._can_write = can_write

    @classmethod
    def open(cls, cache: Path, engine: str, folder: Path, threads: int) -> "ProfileFile":
        """Makes the file if it is not there; where it cannot, nothing is kept, and the log says so."""
        path = path_of(cache, engine, folder, threads)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), can_write=True)
        except OSError as error:
            _logger.warning("%s", not_kept("profiles", cache, error))
        return cls.open_to_read(path)

    @classmethod
    def open_to_read(cls, path: Path) -> "ProfileFile":
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), can_write=False)
        except OSError:
            return cls(None, can_write=False)

    def read(self, precision: str) -> Profile | None:
        with self._locked(fcntl.LOCK_SH):
            found = self._profiles().get(precision)
        return None if found is None else Profile.from_json(found)

    def write(self, found: Profile) -> None:
        if not self._can_write or self._descriptor is None:
            return
        with self._locked(fcntl.LOCK_EX):
            data = to_checked({**self._profiles(), found.precision: found.to_json()})
            try:
                os.ftruncate(self._descriptor, 0)
                written = os.pwrite(self._descriptor, data, 0)
                if written < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._descriptor)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
                _logger.warning("a profile is not kept: %s", error)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        if self._descriptor is None:
            yield
            return
        with contextlib.suppress(OSError):  # without locks a write may be lost, which is found out
            fcntl.flock(self._descriptor, kind)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _profiles(self) -> dict[str, Any]:
        """By precision; none if the file is damaged."""
        if self._descriptor is None:
            return {}
        try:
            data = os.pread(self._descriptor, _FILE_BYTES_MAX, 0)
            found = from_checked(data) if data else {}
            for precision, entry in found.items():
                if Profile.from_json(entry).precision != precision:
                    raise ValueError("it is another precision's")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.warning("profiles are measured anew: %s", error)
            return {}
        assert isinstance(found, dict)
        return found


def profile(
    engine: Engine,
    folder: Path,
    precision: str,
    threads: int,
    kept: ProfileFile | None,
    on_phase: OnPhase = untold,
    on_step: OnStep = unheard,
    *,
    batches: tuple[int, ...] = BATCHES,
) -> Profile:
    """The version's profile, as it is kept if it was measured before."""
    if kept is not None and (known := kept.read(precision)) is not None:
        return known
    points = tuple(_measure(engine, folder, threads, batches, on_phase, on_step))
    found = Profile(engine=engine.name, precision=precision, threads=threads, points=points)
    if kept is not None and points:
        kept.write(found)
    return found


def path_of(cache: Path, engine: str, folder: Path, threads: int) -> Path:
    """Where a version's profiles are kept."""
    return cache / "profiles" / f"{key(engine, folder, threads)}.json"


def key(engine: str, folder: Path, threads: int) -> str:
    """Changes with the content of the files, and with the machine. That of a kept plan is in the list of its files."""
    about = (Profile.SCHEMA, engine, threads, _machine())
    with contextlib.suppress(OSError):
        return hashlib.blake2b((folder / KEPT).read_bytes() + repr(about).encode(), digest_size=16).hexdigest()
    return content_key(folder, *about)


def _machine() -> tuple[str, ...]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return platform.machine(), next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


def _measure(
    engine: Engine, folder: Path, threads: int, batches: tuple[int, ...], on_phase: OnPhase, on_step: OnStep
) -> Iterator[tuple[int, float, float]]:
    """Of the default signature, or the first."""
    signatures = engine.signatures()
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    on_phase(LoadPhase.PROFILING, signature.name)
    inputs = taken_inputs(engine, folder, signature)
    if inputs is None:
        return
    session, seen = engine.make_session(), set()
    clock = time.thread_time if threads == 1 else time.perf_counter
    for number, batch in enumerate(batches):
        on_step("measuring requests of more and more rows", number, len(batches))
        rows, some = with_rows(signature, inputs, batch)
        if rows in seen:
            continue
        seen.add(rows)
        run = runner(engine, session, signature, some)
        try:
            run()
        except RequestError as error:
            _logger.info("a request of %d rows is refused, and not profiled: %s", rows, error)
            continue
        took: list[float] = []
        end_s = time.perf_counter() + _SECONDS_MAX
        while len(took) < _RUNS_MIN or (len(took) < _RUNS_MAX and time.perf_counter() < end_s):
            began = clock()
            run()
            took.append((clock() - began) * 1000)
        middle = statistics.median(took)
        if middle > 0:
            # Robust: one run in twenty that was disturbed says nothing of the model.
            spread = (np.percentile(took, 84) - np.percentile(took, 16)) / 2 / middle
            yield rows, middle, float(spread)


def taken_inputs(engine: Engine, folder: Path, signature: Signature) -> samples.Inputs | None:
    """The first inputs that the model takes: recorded ones, else made-up ones. None for a signature that changes
    state."""
    if signature.effect:
        _logger.warning("signature %s has no profile: %s", signature.name, signature.effect)
        return None
    recorded = (
        inputs for found, inputs in samples.recorded(folder, engine.signatures(), _BYTES_MAX) if found is signature
    )
    taken = samples.first_taken(engine, signature, chain(recorded, samples.made_up(signature)))
    if taken is not None:
        return taken[0]
    _logger.warning("signature %s takes no request that can be made up: it has no profile", signature.name)
    return None


def with_rows(signature: Signature, inputs: samples.Inputs, rows: int) -> tuple[int, samples.Inputs]:
    """The inputs with so many rows, if all of them have a first axis of any size and agree on it; else as they are."""
    lengths = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    free = all(spec.shape is None or (spec.shape and spec.shape[0] == -1) for spec in signature.inputs.values())
    if not inputs or not free or len(lengths) != 1 or 0 in lengths:
        return 1, inputs
    length = lengths.pop()
    return rows, {name: np.take(array, np.arange(rows) % length, axis=0) for name, array in inputs.items()}


def runner(engine: Engine, session: Any, signature: Signature, inputs: samples.Inputs) -> Callable[[], object]:
    """A request as a session runs it."""
    message = messages.PredictRequest()
    message.model_spec.signature_name = signature.name
    for name, array in inputs.items():
        tensors.encode(array, message.inputs[name])
    request = message.SerializeToString()
    if not isinstance(engine, NativeEngine):
        inference = Inference(engine=engine, model="profile", version=0, message_bytes_max=_BYTES_MAX)
        return lambda: inference.handle(session, Method.PREDICT, request)
    settings = PredictSettings(
        model="profile", version=0, tensor_content=False, response_bytes_max=_BYTES_MAX, tensor_bytes_max=_BYTES_MAX
    )
    native = PredictSession(engine.model, session, settings)

    def run() -> None:
        result, _, _ = native.predict(request)
        if result is not PredictResult.RAN:
            raise RequestError("the native path does not take it")

    return run
