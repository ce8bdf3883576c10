"""From YAML text to plain values, and where each of them stands."""

from typing import Any

import yaml

from corelane.processor.errors import ManifestError, ManifestProblem
from corelane.processor.manifest.paths import shown
from corelane.processor.manifest.text import yaml_errors
from corelane.processor.manifest.text.source import START, Place, Source

Location = tuple[str | int, ...]

_VALUES_MAX = 100_000
_INTEGER_MAX = 2**63 - 1


class Tree:
    """The values of a manifest. `problems` are those of its form; what is at fault is left out of `root`.

    ManifestError if there are no values at all."""

    def __init__(self, source: Source, text: str) -> None:
        self.source = source
        self.problems: list[ManifestProblem] = []
        self._keys: dict[Location, Place] = {}
        self._values: dict[Location, Place] = {}
        self._left = _VALUES_MAX
        self._loader = yaml.SafeLoader("")
        self.root: Any = self._read(text)

    def problem(self, location: Location, sentence: str, *, at_key: bool = False) -> ManifestProblem:
        """A problem of what lies at a location, or of what should: then it stands where its parent does."""
        return self.source.problem(self.place(location, at_key=at_key), dotted(location), sentence)

    def place(self, location: Location, *, at_key: bool = False) -> Place:
        """Of a value, if it begins on its key's line; else, and with `at_key`, of its key."""
        for end in range(len(location), -1, -1):
            key, value = self._keys.get(location[:end]), self._values.get(location[:end])
            if value is not None and (
                key is None or (value.line == key.line and not (at_key and end == len(location)))
            ):
                return value
            if key is not None:
                return key
        return START

    def has(self, location: Location) -> bool:
        return location in self._values

    def value(self, location: Location) -> Any:
        """As it is written; None if there is none."""
        value = self.root
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _read(self, text: str) -> Any:
        try:
            node = yaml.compose(text, yaml.SafeLoader)
            if node is None:
                raise self._end(START, "the manifest is empty; it needs models")
            return self._construct(node, (), frozenset())
        except RecursionError:
            raise self._end(START, "lists and mappings lie too deep in each other") from None
        except yaml.YAMLError as error:
            raise self._end(*yaml_errors.explain(error, self.source)) from error

    def _end(self, place: Place, sentence: str) -> ManifestError:
        return ManifestError([self.source.problem(place, "", sentence)])

    def _construct(self, node: yaml.Node, location: Location, above: frozenset[int]) -> Any:
        """Plain values of a node, noting each value's place. `above` are the nodes that it lies in."""
        self._left -= 1
        if self._left < 0:
            # A few aliases of aliases are a few lines, and billions of values.
            raise self._end(START, f"it has more than {_VALUES_MAX} values, aliases counted each time they stand")
        self._values[location] = _place(node)
        if id(node) in above:
            raise self._end(_place(node), "this value contains itself")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location, above | {id(node)})
        if isinstance(node, yaml.SequenceNode):
            return [
                self._construct(item, (*location, index), above | {id(node)}) for index, item in enumerate(node.value)
            ]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location, above: frozenset[int]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.problems.append(
                    self.source.problem(_place(key_node), dotted(location), "<< is not read; write the keys out")
                )
                continue
            key = self._scalar(key_node, location) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self.problems.append(
                    self.source.problem(_place(key_node), dotted(location), "keys should be plain words")
                )
                continue
            here = (*location, key)
            if key in mapping:
                first = self._keys[here].line
                sentence = f"stands twice, first at line {first}; keep one"
                self.problems.append(self.source.problem(_place(key_node), dotted(here), sentence))
                continue
            self._keys[here] = _place(key_node)
            mapping[key] = self._construct(value_node, here, above)
        return mapping

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        """The value; its text where it looks like a date, a number or a tag and is none that there is."""
        try:
            value = self._loader.construct_object(node)
        except Exception:  # of any kind: a tag's constructor trusts the text
            sentence = (
                f"{shown(node.value)} cannot be read as the date, number or type that it looks like; if it is text, "
                "put it in quotes"
            )
        else:
            if not isinstance(value, int) or -_INTEGER_MAX <= value <= _INTEGER_MAX:
                return value
            limit = f"least -{_INTEGER_MAX}" if value < 0 else f"most {_INTEGER_MAX}"
            sentence = f"should be at {limit}, not {shown(node.value)}"
        self.problems.append(self.source.problem(_place(node), dotted(location), sentence))
        return node.value


def dotted(location: Location) -> str:
    """models[0].queue.capacity; empty for the document."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _place(node: yaml.Node) -> Place:
    start, end = node.start_mark, node.end_mark
    is_word = isinstance(node, yaml.ScalarNode) and start.line == end.line
    return Place(start.line + 1, start.column + 1, max(1, end.column - start.column) if is_word else 1)
