"""A manifest's text, and the places in it that problems name: line, column and an excerpt with a caret."""

import bisect
import re
import unicodedata
from dataclasses import dataclass

from corelane.processor.errors import ManifestProblem
from corelane.processor.logs.lines import escaped

# What YAML takes for the end of a line.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_EXCERPT_CHARACTERS_MAX = 100
_BEFORE_CHARACTERS = 40  # of a longer line, before the place


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """`line` and `column` count from 1; `width` is how many characters of the line are meant."""

    line: int
    column: int
    width: int = 1


START = Place(1, 1)


class Source:
    """The text of a manifest, and its name in messages."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines = [line.lstrip("\ufeff") for line in _LINE_END.split(text)]
        self._starts = [0, *(end.end() for end in _LINE_END.finditer(text))]

    def problem(self, place: Place, key: str, sentence: str) -> ManifestProblem:
        return ManifestProblem(
            source=self.name,
            line=place.line,
            column=place.column,
            key=key,
            sentence=sentence,
            excerpt=self._excerpt(place),
        )

    def at(self, index: int) -> Place:
        """The place of a character of the text."""
        line = bisect.bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)

    def before(self, place: Place) -> str:
        """What stands on a place's line before it."""
        return self._line(place)[: place.column - 1]

    def _line(self, place: Place) -> str:
        return self._lines[place.line - 1] if place.line <= len(self._lines) else ""

    def _excerpt(self, place: Place) -> str:
        """The line, and carets under the place; empty for a line without text."""
        line = self._line(place)
        if not line.strip():
            return ""
        first = 0 if len(line) <= _EXCERPT_CHARACTERS_MAX else max(0, place.column - 1 - _BEFORE_CHARACTERS)
        shown = line[first : first + _EXCERPT_CHARACTERS_MAX]
        start = place.column - 1 - first
        cut_before, cut_after = "..." if first else "", "..." if first + len(shown) < len(line) else ""
        blank = " " * (len(cut_before) + _columns(shown[:start]))
        carets = "^" * max(1, _columns(shown[start : start + place.width]))
        margin = f"{place.line:5}"
        return f"{margin} | {cut_before}{_visible(shown)}{cut_after}\n{' ' * len(margin)} | {blank}{carets}"


def _visible(text: str) -> str:
    return escaped(text.replace("\t", " "))


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_columns_of(character) for character in _visible(text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
