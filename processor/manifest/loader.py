"""From YAML text to a Manifest, or to a list of problems that each name a line."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from processor.errors import ManifestError
from processor.manifest import schema
from processor.manifest.files import read_text
from processor.manifest.settings import HostSettings, Manifest
from processor.model_files import real_path
from processor.ports import is_loopback

Location = tuple[str | int, ...]

_ADDRESSABLE_BYTES = 1 << 45
_VALUES_MAX = 100_000


def load_manifest(path: Path) -> Manifest:
    """The manifest in a file. ManifestError has a line for each problem."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: is not UTF-8 text: {error}"]) from error
    except (OSError, ValueError) as error:
        raise ManifestError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    return parse_manifest(text, source=str(path), base=real_path(path).parent)


def parse_manifest(text: str, *, source: str, base: Path) -> Manifest:
    """The manifest in `text`; relative paths are relative to `base`, problems are named `source:line`."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except RecursionError as error:
        raise ManifestError([f"{source}:1: lists and mappings lie too deep in each other"]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ManifestError([f"{source}:{line}: is not YAML: {getattr(error, 'problem', None) or error}"]) from error
    if root is None:
        raise ManifestError([f"{source}:1: the manifest is empty; it needs models"])

    lines: dict[Location, int] = {}
    problems: list[tuple[int, str]] = []
    try:
        document = _construct(root, (), lines, problems, _Budget())
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError([f"{source}:1: {error}"]) from error
    except RecursionError as error:
        raise ManifestError([f"{source}:1: an alias contains itself"]) from error
    if not isinstance(document, dict):
        raise ManifestError([f"{source}:1: should be a mapping with models, listen and host"])
    if "models" not in document:
        problems.append((1, "models is missing: list the models to serve ([] for none)"))

    validated = None
    try:
        validated = schema.Document.model_validate(document)
    except ValidationError as error:
        problems.extend(_explain(item, lines) for item in error.errors())
    if validated is not None:
        problems.extend(_duplicate_names(validated, lines))
        problems.extend(_queues_too_large(validated, lines))
        problems.extend(_anybody_acts(validated.listen, lines))
    if problems:
        raise ManifestError([f"{source}:{line}: {message}" for line, message in sorted(set(problems))])
    assert validated is not None

    return Manifest(
        listen=validated.listen.to_settings(base),
        host=HostSettings(**validated.host.model_dump()),
        models=tuple(schema.to_model_settings(model, base) for model in validated.models),
    )


class _Budget:
    """How many values are left: a few aliases of aliases are a few lines, and billions of values."""

    def __init__(self) -> None:
        self.left = _VALUES_MAX

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"it has more than {_VALUES_MAX} values, aliases counted each time they stand")


def _construct(
    node: yaml.Node,
    location: Location,
    lines: dict[Location, int],
    problems: list[tuple[int, str]],
    budget: _Budget,
) -> Any:
    """Plain values of a node, noting each value's line; a mapping's repeated key is a problem. ValueError for more
    values than the budget has."""
    budget.take()
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = yaml.SafeLoader("").construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                problems.append((line, "keys should be plain words"))
                continue
            if key in mapping:
                problems.append((line, f"{_dotted((*location, key))} stands twice; keep one"))
                continue
            lines[(*location, key)] = line
            mapping[key] = _construct(value_node, (*location, key), lines, problems, budget)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*location, index), lines, problems, budget) for index, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _explain(item: Any, lines: dict[Location, int]) -> tuple[int, str]:
    location: Location = tuple(item["loc"])
    line = next(lines[location[:end]] for end in range(len(location), -1, -1) if location[:end] in lines)
    where = _dotted(location)
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        known = schema.known_keys(location)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return line, f"{where} is not a key; {hint}"
    if kind == "missing":
        return line, f"{where} is missing"
    if kind == "manifest":
        return line, f"{where}: {item['msg']}"
    if kind == "literal_error":
        near = difflib.get_close_matches(str(given), item["ctx"]["expected"].replace("'", "").split(), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0].rstrip(',')}?" if near else ""
        return line, f"{where}: should be {item['ctx']['expected']}, not {given!r}{hint}"
    return line, f"{where}: {item['msg'][0].lower()}{item['msg'][1:]}, not {given!r}"


def _duplicate_names(document: schema.Document, lines: dict[Location, int]) -> list[tuple[int, str]]:
    seen: dict[str, int] = {}
    problems = []
    for index, model in enumerate(document.models):
        line = lines["models", index, "name"]
        if model.name in seen:
            problems.append(
                (line, f"models[{index}].name: {model.name} is also the name of the model at line {seen[model.name]}")
            )
        seen.setdefault(model.name, line)
    return problems


def _queues_too_large(document: schema.Document, lines: dict[Location, int]) -> list[tuple[int, str]]:
    """Every request that waits has an address for the largest message; there are many, but not without end."""
    message_bytes_max = document.listen.message_bytes_max
    capacity_max = _ADDRESSABLE_BYTES // (2 * message_bytes_max)
    return [
        (
            lines["models", index, "queue", "capacity"],
            f"models[{index}].queue.capacity: {model.queue.capacity} messages of listen.message_bytes_max "
            f"({message_bytes_max}) cannot be addressed; at most {capacity_max} can",
        )
        for index, model in enumerate(document.models)
        if model.queue.capacity > capacity_max
    ]


def _anybody_acts(listen: schema.Listen, lines: dict[Location, int]) -> list[tuple[int, str]]:
    """The page may change whose calls go where only for managers, or for who is on this host."""
    if not listen.page_actions:
        return []
    if listen.auth is None and not is_loopback(listen.admin):
        need = f"listen.auth with managers, or listen.admin on loopback, not {listen.admin}"
    elif listen.auth is not None and not listen.auth.managers:
        need = "listen.auth.managers: the clients that may act from the page"
    else:
        return []
    return [(lines["listen", "page_actions"], f"listen.page_actions: needs {need}")]


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the manifest"
