"""Output of commands: tables as wide as the terminal and colours for people, plain text for programs."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from operator import itemgetter
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from corelane.processor.loading.phases import OnStep
from corelane.processor.logs.lines import escaped

_NAME_MIN = 12  # columns of a name, however narrow the terminal is
_UNBOUNDED = 10_000  # columns, if the output is no terminal
_STYLES = {
    "AVAILABLE": "green",
    **dict.fromkeys(("WAITING", "QUEUED", "LOADING", "RESTARTING", "UNLOADING"), "yellow"),
    "FAILED": "bold red",
    "RETIRED": "dim",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; a `wide` one only appears in wide tables."""

    title: str
    cell: Callable[[Any], Any]
    wide: bool = False
    style: Callable[[Any], str] = lambda row: ""


def console(file: TextIO | None = None) -> Console:
    """A console for a file, by default standard output. Without a terminal it has no colours and breaks no lines."""
    file = file or sys.stdout
    width = None if file.isatty() else _UNBOUNDED
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def grid(columns: Sequence[Column], rows: Iterable[Any], wide: bool = True) -> Table:
    """A table of `rows`, with numbers right-aligned."""
    rows = list(rows)
    shown = [column for column in columns if wide or not column.wide]
    cells = [[_text(column.cell(row)) for column in shown] for row in rows]
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate(shown):
        number = bool(cells) and all(_is_number(row[index]) for row in cells)
        widest = max([len(column.title), *(len(row[index]) for row in cells)])
        table.add_column(
            column.title,
            justify="right" if number else "left",
            # On a narrow terminal names are cut.
            no_wrap=index > 0 or wide,
            min_width=min(widest, _NAME_MIN) if index == 0 and not wide else widest,
        )
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(
            *(
                Text(text, style=column.style(row), no_wrap=True, overflow="ellipsis")
                for column, text in zip(shown, texts, strict=True)
            )
        )
    return table


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as plain text of any width, with numbers right-aligned."""
    columns = [Column(title, itemgetter(index)) for index, title in enumerate(header)]
    return plain(grid(columns, rows))


def show(*parts: RenderableType) -> None:
    """Prints to standard output."""
    output = console()
    if output.is_terminal:
        output.print(*parts, sep="\n", soft_wrap=True)
    else:
        print(plain(*parts))


def plain(*parts: RenderableType) -> str:
    """The parts as text without colours."""
    with StringIO() as file:
        console(file).print(*parts, sep="\n", soft_wrap=True)
        return "\n".join(line.rstrip() for line in file.getvalue().rstrip("\n").split("\n"))


def say(text: object, file: TextIO | None = None) -> None:
    """Prints text from any source (names, paths, output of models) with control characters escaped."""
    print("\n".join(escaped(line) for line in str(text).split("\n")), file=file, flush=file is not None)


def state_style(state: str) -> str:
    return _STYLES.get(state, "")


def age(seconds: float | None) -> str | None:
    """A duration in kubectl's form: 45s, 12m, 3h12m, 5d."""
    if seconds is None:
        return None
    minutes, hours, days = (int(seconds / unit) for unit in (60, 3600, 86400))
    if minutes < 2:
        return f"{int(seconds)}s"
    if hours < 2:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60:02}m" if days < 2 else f"{days}d"


def clock(at_s: float) -> str:
    """The time of day, with the date unless it is today."""
    when, today = time.localtime(at_s), time.localtime()
    same = (when.tm_year, when.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S", when)


@contextmanager
def waiting(text: str) -> Iterator[OnStep]:
    """Shows progress on standard error; yields a function that changes the text. A terminal gets one line with the
    seconds passed and, if the amount of work is known, the seconds left. Otherwise each text is a line of its own."""
    error = console(sys.stderr)
    if not error.is_terminal:
        last = text
        say(text, sys.stderr)

        def tell(more: str, done: int, total: int) -> None:
            nonlocal last
            if more != last:
                last = more
                say(more, sys.stderr)

        yield tell
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    left = (TextColumn("{task.fields[left]}"), TimeRemainingColumn(compact=True))
    shown = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20), TimeElapsedColumn(), *left)
    with Progress(*shown, console=error, transient=True) as progress:
        task = progress.add_task(escaped(text), total=None, left="")

        def update(more: str, done: int, total: int) -> None:
            progress.tasks[0].total = total or None
            left = "left:" if total else ""
            progress.update(task, description=escaped(more), completed=min(done, total), left=left)

        yield update


def repeat(interval_s: float, draw: Callable[[], RenderableType]) -> None:
    """Redraws every `interval_s` until Ctrl-C, which is a clean end. Without a terminal it prints one after the
    other."""
    from rich.live import Live

    output = console()
    try:
        if not output.is_terminal:
            while True:
                print(plain(draw()), flush=True)
                time.sleep(interval_s)
        with Live(draw(), console=output, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(interval_s)
                live.update(draw(), refresh=True)
    except KeyboardInterrupt:
        return


def _text(value: Any) -> str:
    return "-" if value is None else escaped(str(value))


def _is_number(text: str) -> bool:
    text = text.rstrip(" kMGT")
    return text in ("-", "never") or text.replace(".", "").replace("-", "").replace("%", "").isdecimal()
