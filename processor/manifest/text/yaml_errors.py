"""What is wrong with a YAML text, in words for whoever writes it."""

import re

import yaml

from corelane.processor.manifest.paths import shown
from corelane.processor.manifest.text.source import START, Place, Source

_QUOTES = "put text that has it in quotes"


def explain(error: yaml.YAMLError, source: Source) -> tuple[Place, str]:
    """Where a text is no YAML, and a sentence on what would be right."""
    if isinstance(error, yaml.reader.ReaderError):
        return source.at(error.position), f"a manifest cannot have the character U+{int(error.character):04X}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return START, "this cannot be read as YAML"
    place, begin = _place(error.problem_mark), _place(error.context_mark)
    problem, context = str(error.problem or ""), str(error.context or "")
    if "quoted scalar" in context and "found unexpected" in problem:
        return begin, "the quote that opens here is never closed"
    if "flow" in context and "'<stream end>'" in problem and begin != place:
        return begin, "the bracket that opens here is never closed"
    if "flow" in context:
        return place, _in_brackets(problem, context, begin, source.before(place))
    return place, _sentence(problem, context, begin, source.before(place))


def _place(mark: yaml.Mark | None) -> Place:
    return START if mark is None else Place(mark.line + 1, mark.column + 1)


def _in_brackets(problem: str, context: str, begin: Place, before: str) -> str:
    opening, closing = ("{", "}") if "mapping" in context else ("[", "]")
    if before.endswith("$"):
        return f"put a text with ${{...}} in quotes where it stands between {opening} and {closing}"
    if "node content" in problem:
        end = "'<stream end>'" in problem
        return "a value or a closing bracket is missing at the end" if end else "a value is missing before this"
    return f"a comma or {closing} is missing before this; the {opening} is at line {begin.line}, column {begin.column}"


def _sentence(problem: str, context: str, begin: Place, before: str) -> str:
    if "cannot start any token" in problem:
        character = re.search(r"character '(.*?)' that", problem)
        if character is not None and character[1] == "\\t":
            return "a tab cannot indent a line; use spaces"
        return f"a value cannot begin with {character[1] if character else 'this'}; put it in quotes"
    if "could not find expected ':'" in problem:
        return f"the text at line {begin.line} should be `key: value`: a colon, a quote or the indentation is missing"
    if "mapping values are not allowed" in problem:
        return f"a `: ` cannot stand here: the line above may lack its colon; mend the indentation, or {_QUOTES}"
    if "sequence entries are not allowed" in problem:
        return f"a list's `- ` cannot stand here; begin the list on the line below its key, or {_QUOTES}"
    if "mapping keys are not allowed" in problem:
        return f"a `? ` cannot stand here; {_QUOTES}"
    if "expected <block end>" in problem:
        kind = "mapping" if "mapping" in context else "list"
        return (
            f"this does not belong to the {kind} that begins at line {begin.line}, column {begin.column}; "
            f"{_end_of(kind)}"
        )
    if "document start" in problem:
        return "this stands behind the end of the manifest; mend its indentation"
    if "but found another document" in problem:
        return "a second document begins here; a file has one manifest, so remove the `---`"
    if "node content" in problem:
        return "a value is missing before this"
    return _of_special_characters(problem, context)


def _end_of(kind: str) -> str:
    if kind == "mapping":
        return "its lines are `key: value` and begin in one column"
    return "its lines are `- item` and begin in one column"


def _of_special_characters(problem: str, context: str) -> str:
    name = re.search(r"'(.*?)'", problem)
    quoted = shown(name[1]) if name else "it"
    if "undefined alias" in problem:
        return (
            f"*{name[1] if name else ''} names no value: nothing above is marked &{name[1] if name else ''}; {_QUOTES}"
        )
    if "duplicate anchor" in context:
        return "this & name is taken by a value above; use another"
    if "while scanning an a" in context:
        return "`*` and `&` stand before the name of a value; put a text that begins with them in quotes"
    if "escape" in problem:
        return "a backslash in double quotes begins an escape that YAML does not have here; use single quotes"
    if "block scalar" in context:
        return "behind | or > only + or - and a number may stand; put a text that begins with them in quotes"
    if "tag" in context or "tag" in problem:
        return f"a value that begins with ! cannot be read ({quoted}); put it in quotes"
    if "directive" in context or "directive" in problem or "incompatible" in problem:
        return "a line that begins with % cannot be read; put the text in quotes"
    return "this cannot be read as YAML; mend its indentation, or put it in quotes"
