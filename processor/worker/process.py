"""The worker process: loads its version, serves the channel, drains, ends."""

import dataclasses
import gc
import logging
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

from processor import control
from processor.channel import Request
from processor.engines import EngineOptions, choose_engine, load_engine
from processor.errors import LoadError
from processor.socket_channel import SocketChannelServer
from processor.worker.inference import Inference
from processor.worker.session_group import SessionGroup
from processor.worker.spec import WorkerSpec
from processor.worker.warm_up import warm_up

_logger = logging.getLogger(__name__)

_LOAD_NICE = 19  # a load takes what serving leaves
_OOM_SCORE = 500  # if memory runs out, a worker goes, and not the supervisor


class Worker:
    """Runs on three kinds of thread: this one (control), the channel's reader, the sessions."""

    def __init__(self, client: control.ControlClient, spec: WorkerSpec, socket_path: Path, report_s: float) -> None:
        self._client = client
        self._spec = spec
        self._socket_path = socket_path
        self._report_s = report_s
        self._group: SessionGroup | None = None
        self._server: SocketChannelServer | None = None

    def load(self) -> None:
        """Loads the version and tells the supervisor how it went; ends the process if it failed."""
        spec = self._spec
        started = time.monotonic()
        try:
            engine_name = choose_engine(Path(spec.folder), spec.engine)
            options = EngineOptions(
                sessions=spec.sessions,
                threads_per_session=spec.threads_per_session,
                precision=spec.precision,
                op_libraries=spec.op_libraries,
            )
            engine = load_engine(engine_name, Path(spec.folder), options)
            sessions = [engine.make_session() for _ in range(spec.sessions)]
            warm_up(engine, sessions)
        except (LoadError, MemoryError, OSError) as error:
            self._client.send({"type": "failed", "error": str(error) or "out of memory"})
            os._exit(3)
        gc.collect()
        gc.freeze()  # the engine's objects live as long as the process; a collection need not walk them
        inference = Inference(
            engine=engine, model=spec.model, version=spec.version, message_bytes_max=spec.message_bytes_max
        )

        def handle(index: int, request: Request) -> bytes:
            return inference.handle(sessions[index], request.method, request.payload)

        self._group = SessionGroup(
            name=spec.name,
            sessions=spec.sessions,
            capacity=spec.queue_capacity,
            timeout_ns=int(spec.queue_timeout_ms * 1e6),
            dispatch=spec.dispatch,
            handler=handle,
        )
        self._server = SocketChannelServer(
            self._socket_path,
            message_bytes_max=spec.message_bytes_max,
            submit=self._group.submit,
            cancelled=self._group.cancel,
            expire=self._group.expire,
        )
        self._client.send({"type": "loaded", "engine": engine_name, "load_s": time.monotonic() - started})

    def serve(self) -> None:
        """Called from the main thread, so that sessions have its priority and not the load's."""
        assert self._group is not None and self._server is not None
        self._group.start()
        self._server.start()
        threading.Thread(target=self._report, name="report", daemon=True).start()
        self._client.send({"type": "available"})

    def drain(self) -> None:
        """Serves until every gateway has closed its connections, then ends the process."""
        assert self._group is not None and self._server is not None
        while self._server.connections:
            time.sleep(0.01)
        self._group.stop()
        self._client.send(self._statistics())
        os._exit(0)

    def _report(self) -> None:
        while True:
            self._client.send(self._statistics())
            time.sleep(self._report_s)

    def _statistics(self) -> dict[str, Any]:
        assert self._group is not None
        return {
            "type": "statistics",
            "group": dataclasses.asdict(self._group.statistics()),
            "cpu_s": time.process_time(),
        }


def main(arguments: list[str]) -> None:
    """Arguments as `control.connect` has them."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    client, first = control.connect(arguments)
    fields = first["spec"]
    spec = WorkerSpec(**{**fields, "op_libraries": tuple(fields["op_libraries"])})
    if spec.memory_bytes_max is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (spec.memory_bytes_max, spec.memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    worker = Worker(client, spec, Path(first["socket"]), first["report_s"])

    loaded = threading.Event()

    def load() -> None:
        # Threads that an engine makes inherit the priority: it is lowered only where none of them will run requests.
        if spec.threads_per_session == 1:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOAD_NICE)
        try:
            worker.load()
        except BaseException as error:
            # Whatever an engine raises on a broken model, the supervisor hears of it.
            _logger.exception("loading %s failed", spec.name)
            client.send({"type": "failed", "error": f"{type(error).__name__}: {error}"[:1000]})
            os._exit(3)
        loaded.set()

    def handle(message: control.Message) -> None:
        if message["type"] == "drain":
            threading.Thread(target=worker.drain, name="drain", daemon=True).start()

    threading.Thread(target=client.serve, args=(handle,), name="control", daemon=True).start()
    threading.Thread(target=load, name="load", daemon=True).start()
    loaded.wait()
    worker.serve()
    threading.Event().wait()
