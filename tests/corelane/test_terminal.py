"""What commands print while they work."""

import io
import re
import sys
from operator import itemgetter

import pytest

from corelane.terminal import Column, grid, show, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_for_each_thing_and_no_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("reading") as tell:
        for number in range(3):
            tell("comparing", number, 3)
        tell("measuring", 0, 0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "reading\ncomparing\nmeasuring\n")


def test_a_terminal_gets_the_time_that_is_left_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    with waiting("reading \x1b]0;name\x07") as tell:
        tell("comparing", 5, 10)
    said = terminal.getvalue()
    assert "comparing" in said and "left:" in said
    assert "\x1b]0;" not in said, "what names may hold reaches no terminal"
    terminal.truncate(0)
    with waiting("reading") as tell:
        tell("comparing", 5, 10)
        tell("measuring", 0, 0)
    assert terminal.getvalue().rpartition("measuring")[2].count("left:") == 0


def test_a_long_name_is_cut_before_anything_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "36")
    columns = [Column("model", itemgetter(0)), Column("state", itemgetter(1)), Column("failed", itemgetter(2))]
    rows = [("a-model-with-a-long-name", "AVAILABLE", 7), ("ctr", "FAILED", 12)]
    show(grid(columns, rows, wide=False))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 36
    name, *others = lines[1].split()
    assert name.startswith("a-model-wi") and name.endswith("…") and others == ["AVAILABLE", "7"]
    assert lines[2].split() == ["ctr", "FAILED", "12"]
