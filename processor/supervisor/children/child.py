"""A process that the supervisor owns: started, spoken to, listened to, and missed when it ends."""

import asyncio
import contextlib
import logging
import os
import pwd
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from corelane.processor import control, logs
from corelane.processor.control.messages import Beat
from corelane.processor.errors import InvalidMessage
from corelane.processor.supervisor import tasks
from corelane.processor.supervisor.children.endings import Ending, ending_of, memory_kills
from corelane.processor.supervisor.children.output import LINE_BYTES_MAX, Lines

_logger = logging.getLogger("corelane")

_TAIL_LINES = 20
_TAIL_CHARACTERS = 2000  # of a line
_OUTPUT_WAIT_S = 2.0


class Child:
    """Belongs to the event loop's thread.

    Its messages come to `on_message` in order, which raises InvalidMessage for one that such a process has no reason to
    send; `on_exit` is called once, after the last of them.

    Invariant: a process that is not listened to does not live. One that closes its connection, or says what cannot be
    read, is killed."""

    def __init__(
        self,
        module: str,
        name: str,
        first: control.Message,
        on_message: Callable[[control.Message], None],
        on_exit: Callable[[Ending], None],
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """The process inherits `descriptors`, under the same numbers, and our environment if none is given. It runs as
        `user`, with that one's groups only, if that is given.

        OSError, ValueError or KeyError if it cannot be started; then nothing is left of it."""
        self.name = name
        self.beat = 0  # the number of the last heartbeat that it answered
        self._killed = ""  # why we did
        self._memory_kills = memory_kills()
        self._on_message = on_message
        self._on_exit = on_exit
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._writer: asyncio.StreamWriter | None = None
        self._unsent = [control.encode(first)]
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
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
            undo.callback(self._reap)
            self.pid = self._process.pid
            ended = os.pidfd_open(self.pid)
            undo.pop_all()
        self._task = tasks.start(self._live(ours, ended), f"child {name}")

    @property
    def alive(self) -> bool:
        return not self._task.done()

    def send(self, message: control.Message) -> None:
        if self._writer is None:
            self._unsent.append(control.encode(message))
        elif not self._writer.is_closing():
            self._writer.write(control.encode(message))

    def kill(self, reason: str = "") -> None:
        """`reason`, if given, is how its end is described: "did not answer for 15 s"."""
        if reason and not self._killed:
            self._killed = reason
            _logger.error("[%s] %s; it is killed", self.name, reason)
        self._process.kill()

    async def ended(self) -> None:
        """Returns when the process has ended and `on_exit` has been called."""
        await asyncio.shield(self._task)

    async def _live(self, connection: socket.socket, ended: int) -> None:
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        try:
            loop.add_reader(ended, _note_end, loop, ended, gone)
            try:
                await self._listen(connection, gone)
            except Exception as error:
                # No descriptor, no memory: one that is not listened to is of no use.
                _logger.critical("[%s] is not listened to any more", self.name, exc_info=error)
                self.kill(f"could not be listened to: {error}")
            await gone
        finally:
            loop.remove_reader(ended)
            os.close(ended)
            connection.close()
            code = self._reap()
            self._on_exit(ending_of(code, self._killed, self._tail, self._memory_kills))

    async def _listen(self, connection: socket.socket, gone: asyncio.Future[None]) -> None:
        """Until the process has ended, and what it said before is read; a process that it started may hold the pipe
        open for longer."""
        loop = asyncio.get_running_loop()
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=control.MESSAGE_BYTES_MAX)
        for data in self._unsent:
            self._writer.write(data)
        assert self._process.stdout is not None
        output = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), self._process.stdout)
        readers: dict[asyncio.Future[None], str] = {
            loop.create_task(self._read_messages(reader)): "its control connection",
            loop.create_task(self._read_output(output)): "its output",
        }
        waiting: set[asyncio.Future[None]] = {gone, *readers}
        while not gone.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {gone}:
                error = task.exception()
                # At a process's end, its connections may end before we hear of it.
                await asyncio.wait([gone], timeout=0 if error else _OUTPUT_WAIT_S)
                if not gone.done():
                    self.kill(f"{error}, in {readers[task]}" if error else f"closed {readers[task]}")
                await gone
        _, late = await asyncio.wait(readers, timeout=_OUTPUT_WAIT_S)
        for task in late:
            task.cancel()
        transport.close()
        self._writer.close()

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):
                    self._take(control.decode(line))
        except ConnectionResetError:
            return  # the end, as a process leaves it that was killed with messages unread

    def _take(self, message: control.Message) -> None:
        if isinstance(message, Beat):
            self.beat = message.number
            return
        try:
            self._on_message(message)
        except InvalidMessage:
            raise
        except Exception as error:
            # A fault of ours, or a worker's that its model has taken over: neither is a reason to stop listening.
            _logger.critical("[%s] its message %.200s was not handled", self.name, message, exc_info=error)

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        lines = Lines()
        while data := await output.read(LINE_BYTES_MAX):
            self._pass_on(lines.feed(data))
        self._pass_on(lines.end())

    def _pass_on(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._tail.append(line[:_TAIL_CHARACTERS])
            logs.pass_on(_logger, self.name, line)

    def _reap(self) -> int:
        """The exit code, if need be of its being killed; its output is closed."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.wait()


def _note_end(loop: asyncio.AbstractEventLoop, ended: int, gone: asyncio.Future[None]) -> None:
    """Once: the descriptor stays readable."""
    loop.remove_reader(ended)
    if not gone.done():
        gone.set_result(None)
