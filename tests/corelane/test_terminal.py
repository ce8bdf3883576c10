"""What commands print while they work."""

import io
import sys

import pytest

from corelane.terminal import waiting


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
