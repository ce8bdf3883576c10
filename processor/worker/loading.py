"""Loading a version: from a WorkerSpec to a SessionGroup behind a channel, ready to start."""

import gc
import time
from dataclasses import dataclass
from pathlib import Path

from processor.channel import Request
from processor.engines import EngineOptions, choose_engine, load_engine
from processor.errors import LoadError
from processor.socket_channel import SocketChannelServer
from processor.worker.inference import Inference
from processor.worker.session_group import SessionGroup
from processor.worker.spec import WorkerSpec
from processor.worker.warm_up import warm_up


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    engine: str
    load_s: float
    group: SessionGroup
    server: SocketChannelServer


def load_version(spec: WorkerSpec, socket_path: Path) -> LoadedVersion:
    """Loads and warms up; starts no thread that will run requests. LoadError says what is wrong with the version."""
    started_s = time.monotonic()
    folder = Path(spec.folder)
    engine_name = choose_engine(folder, spec.engine)
    options = EngineOptions(
        sessions=spec.sessions,
        threads_per_session=spec.threads_per_session,
        precision=spec.precision,
        op_libraries=spec.op_libraries,
    )
    try:
        engine = load_engine(engine_name, folder, options)
        sessions = [engine.make_session() for _ in range(spec.sessions)]
        warm_up(engine, sessions)
    except MemoryError as error:
        raise LoadError("the load ran out of memory") from error
    gc.collect()
    gc.freeze()  # the engine's objects live as long as the process; a collection need not walk them
    inference = Inference(
        engine=engine, model=spec.model, version=spec.version, message_bytes_max=spec.message_bytes_max
    )

    def handle(index: int, request: Request) -> bytes:
        return inference.handle(sessions[index], request.method, request.payload)

    group = SessionGroup(
        name=spec.name,
        sessions=spec.sessions,
        capacity=spec.queue_capacity,
        timeout_ns=int(spec.queue_timeout_ms * 1e6),
        dispatch=spec.dispatch,
        handler=handle,
    )
    server = SocketChannelServer(
        socket_path,
        message_bytes_max=spec.message_bytes_max,
        submit=group.submit,
        cancelled=group.cancel,
        expire=group.expire,
    )
    return LoadedVersion(engine=engine_name, load_s=time.monotonic() - started_s, group=group, server=server)
