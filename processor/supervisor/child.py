"""A process that the supervisor owns: started, spoken to, listened to, and missed when it ends."""

import asyncio
import json
import logging
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from processor import control, logs
from processor.supervisor import tasks
from processor.supervisor.output import lines_of

_logger = logging.getLogger("corelane")

_LINE_BYTES_MAX = 1 << 24
_TAIL_LINES = 20
_TAIL_CHARS = 2000
_OUTPUT_WAIT_S = 2.0


class Child:
    """Belongs to the event loop's thread.

    Its messages come to `on_message` in order; `on_exit(how, last output)` comes once, after the last of them."""

    def __init__(
        self,
        module: str,
        name: str,
        first: control.Message,
        on_message: Callable[[control.Message], None],
        on_exit: Callable[[str, str], None],
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """The process inherits `descriptors`, under the same numbers, and our environment if none is given. It runs as
        `user`, with that one's groups only, if that is given."""
        self.name = name
        self._on_message = on_message
        self._on_exit = on_exit
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid()), name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno(), *descriptors],
                env=environment,
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        self.pid = self._process.pid
        self._writer: asyncio.StreamWriter | None = None
        self._unsent = [control.encode(first)]
        self._task = tasks.start(self._live(ours), f"child {name}")

    @property
    def alive(self) -> bool:
        return not self._task.done()

    def send(self, message: control.Message) -> None:
        if self._writer is None:
            self._unsent.append(control.encode(message))
        elif not self._writer.is_closing():
            self._writer.write(control.encode(message))

    def kill(self) -> None:
        self._process.kill()

    async def ended(self) -> None:
        """Returns when the process has ended and `on_exit` has been called."""
        await asyncio.shield(self._task)

    async def _live(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, gone.set_result, None)
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=_LINE_BYTES_MAX)
        for data in self._unsent:
            self._writer.write(data)
        assert self._process.stdout is not None
        output = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), self._process.stdout)
        readers = [loop.create_task(self._read_messages(reader)), loop.create_task(self._read_output(output))]
        await gone
        loop.remove_reader(descriptor)
        os.close(descriptor)
        code = self._process.wait()
        # What it said before it ended counts; a process that it started may hold the pipe open for longer.
        _, late = await asyncio.wait(readers, timeout=_OUTPUT_WAIT_S)
        for task in late:
            task.cancel()
        transport.close()
        self._writer.close()
        self._on_exit(self._describe(code), self._tail[-1] if self._tail else "")

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):
                    self._on_message(json.loads(line))
        except ConnectionResetError:
            return  # the end, as a process leaves it that was killed with messages unread

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        async for line in lines_of(output):
            self._tail.append(line[:_TAIL_CHARS])
            logs.pass_on(_logger, self.name, line)

    def _describe(self, code: int) -> str:
        if code == 0:
            return "exited"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += " (by hand, or because memory ran out)"
        else:
            how = f"exited with code {code}"
        return how
