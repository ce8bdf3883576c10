"""A process that the supervisor owns: started, spoken to, listened to, and missed when it ends."""

import asyncio
import contextlib
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
from processor.supervisor import runtime, tasks
from processor.supervisor.heartbeat import Heartbeat, Verdict

_logger = logging.getLogger("corelane")

_TAIL_LINES = 20
_TAIL_CHARACTERS = 2000
_OUTPUT_BYTES_MAX = 1 << 16  # of a line; what it has beyond is left out
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
        `user`, with that one's groups only, if that is given.

        OSError, ValueError or KeyError if it cannot be started; then nothing is left of it."""
        self.name = name
        self._on_message = on_message
        self._on_exit = on_exit
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._heartbeat = Heartbeat()
        self._reason = ""
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
        """`reason` is what `on_exit` will say."""
        self._reason = self._reason or reason
        self._process.kill()

    def look(self, looks_max: int) -> None:
        """Asks whether it is alive, once it has answered the last time; kills it after `looks_max` looks in vain."""
        verdict = self._heartbeat.look(looks_max, lambda: runtime.cpu_s(self.pid))
        if verdict is Verdict.ASK:
            self.send({"type": "beat"})
        elif verdict is Verdict.DEAD:
            self.kill("did not answer any more (CORELANE_HEARTBEAT_S), and was ended")

    async def ended(self) -> None:
        """Returns when the process has ended and `on_exit` has been called."""
        await asyncio.shield(self._task)

    async def _live(self, connection: socket.socket, ended: int) -> None:
        try:
            await self._listen(connection, ended)
        except Exception as error:
            # No descriptor, no memory: one that is not listened to is of no use.
            _logger.critical("[%s] cannot be listened to, and is ended", self.name, exc_info=error)
            self.kill(f"could not be listened to: {error}")
        finally:
            os.close(ended)
            connection.close()
            code = self._reap()
            self._on_exit(self._describe(code), self._tail[-1] if self._tail else "")

    async def _listen(self, connection: socket.socket, ended: int) -> None:
        """Until the process has ended and what it said before is heard."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        assert self._process.stdout is not None
        async with contextlib.AsyncExitStack() as undo:
            loop.add_reader(ended, gone.set)
            undo.callback(loop.remove_reader, ended)
            reader, self._writer = await asyncio.open_connection(sock=connection, limit=control.LINE_BYTES_MAX)
            undo.callback(self._writer.close)
            for data in self._unsent:
                self._writer.write(data)
            output = asyncio.StreamReader(limit=_OUTPUT_BYTES_MAX)
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(output), self._process.stdout
            )
            undo.callback(transport.close)
            readers = [
                tasks.start(self._read_messages(reader), f"messages of {self.name}"),
                tasks.start(self._read_output(output), f"output of {self.name}"),
            ]
            await gone.wait()
            # What it said before it ended counts; a process that it started may hold the pipe open for longer.
            _, late = await asyncio.wait(readers, timeout=_OUTPUT_WAIT_S)
            for task in late:
                task.cancel()

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):
                    self._hear(json.loads(line))
        except ConnectionResetError:
            return  # the end, as a process leaves it that was killed with messages unread
        except Exception as error:
            _logger.exception("[%s] said what cannot be understood, and is ended", self.name)
            self.kill(f"said what cannot be understood ({type(error).__name__}: {str(error)[:200]}), and was ended")

    def _hear(self, message: control.Message) -> None:
        if message["type"] == "alive":
            self._heartbeat.answered()
        else:
            self._on_message(message)

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        line = b""
        while data := await output.read(_OUTPUT_BYTES_MAX):
            *lines, line = (line + data).split(b"\n")
            for complete in lines:
                self._pass_on(complete)
            line = line[:_OUTPUT_BYTES_MAX]
        self._pass_on(line)

    def _pass_on(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()[:_TAIL_CHARACTERS]
        if text:
            self._tail.append(text)
            logs.pass_on(_logger, self.name, text)

    def _reap(self) -> int:
        """The exit code, if need be of its being killed; its output is closed."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.wait()

    def _describe(self, code: int) -> str:
        if self._reason:
            return self._reason
        if code == 0:
            return "exited"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += " (by hand, or because memory ran out)"
        else:
            how = f"exited with code {code}"
        return how
