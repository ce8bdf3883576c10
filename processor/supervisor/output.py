"""The lines of a process's output, as they come in pieces."""

from collections.abc import Iterator

LINE_BYTES_MAX = 1 << 16


class Lines:
    """Cuts bytes into lines of LINE_BYTES_MAX at most: output without a newline takes no more memory than that."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete, without their ends and without those that are empty."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rest = rest
        for line in lines:
            for start in range(0, len(line), LINE_BYTES_MAX):
                text = line[start : start + LINE_BYTES_MAX].decode(errors="replace").rstrip()
                if text:
                    yield text

    def end(self) -> Iterator[str]:
        """What stands behind the last newline."""
        return self.feed(b"\n")
