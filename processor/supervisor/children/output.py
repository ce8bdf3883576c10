"""The lines of a process's output, as they come in pieces."""

from collections.abc import Iterator

LINE_BYTES_MAX = 1 << 16


class Lines:
    """Cuts bytes into lines of LINE_BYTES_MAX at most: output without a newline takes no more memory than that."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete, without their ends and without those that are empty."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._rest += end
            yield from self._cut(1)
        self._rest += rest
        yield from self._cut(LINE_BYTES_MAX)

    def end(self) -> Iterator[str]:
        """What stands behind the last newline."""
        return self._cut(1)

    def _cut(self, least: int) -> Iterator[str]:
        """Pieces of what there is, as long as that is `least`."""
        while len(self._rest) >= least:
            text = self._rest[:LINE_BYTES_MAX].decode(errors="replace").rstrip()
            del self._rest[:LINE_BYTES_MAX]
            if text:
                yield text
