"""What a process writes to its standard output and error, as lines of a bounded length."""

import asyncio
from collections.abc import AsyncIterator

LINE_BYTES_MAX = 1 << 15
_READ_BYTES = 1 << 16


async def lines_of(output: asyncio.StreamReader) -> AsyncIterator[str]:
    """Every line that is not blank, until the last writer has closed the pipe. What is longer than `LINE_BYTES_MAX`
    comes in pieces: a process that ends no line must not fill our memory, nor wait for a reader that gave up."""
    rest = b""
    while data := await output.read(_READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        while len(rest) >= LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        for line in lines:
            for start in range(0, len(line), LINE_BYTES_MAX):
                if text := line[start : start + LINE_BYTES_MAX].decode(errors="replace").rstrip():
                    yield text
    if text := rest.decode(errors="replace").rstrip():
        yield text
