"""Paths and names of a manifest: what can be one, what is no folder of this host, and what no REST path can carry."""

import os
import re
from pathlib import Path

from corelane.processor.wire.version_numbers import VERSION_MAX, is_number, version_number

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_VARIABLE = re.compile(r"\$\{([^}]*)(\}?)")
_NOT_IN_A_PATH = {"": "it is empty", ".": "clients read it as this folder", "..": "clients read it as the folder above"}


_NAME_BYTES_MAX = 256
_PATH_BYTES_MAX = 4095  # Linux's PATH_MAX, without the zero at the end
_PART_BYTES_MAX = 255


def name_problem(name: str) -> str | None:
    """Why a text is no name of a model and no label, in words; None if it may be one. Names stand in command lines,
    logs, metrics and messages; TensorFlow Serving takes any text."""
    if not name:
        return "it is empty"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    size = len(name.encode())
    return f"it has {size} bytes; at most {_NAME_BYTES_MAX} can be" if size > _NAME_BYTES_MAX else None


def shown(text: str) -> str:
    """A text for an error message, quoted and not too long."""
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."


def path_problem(path: str | Path) -> str | None:
    """Why a path cannot be one of this host's file system, in words; None if it may be one."""
    return form_problem(path) or remote_problem(path)


def form_problem(path: str | Path) -> str | None:
    """Why the system would take this for no path at all, in words; None if it may be one."""
    if "\0" in str(path):
        return f"{shown(str(path))} has a zero byte, which no path can have"
    try:
        size, parts = len(os.fsencode(path)), [len(os.fsencode(part)) for part in Path(path).parts]
    except UnicodeEncodeError:
        return f"{shown(str(path))} has characters that no path can have"
    if size > _PATH_BYTES_MAX or max(parts, default=0) > _PART_BYTES_MAX:
        longest = f"{_PATH_BYTES_MAX} bytes, and no name in it than {_PART_BYTES_MAX}"
        return f"{shown(str(path))} is too long: no path can be longer than {longest}"
    return None


def expanded(path: str) -> str:
    """A path as people write it, with a leading `~` or `~user` and each `${VARIABLE}` filled in. ValueError, in words,
    for what has no value here."""

    def value(variable: re.Match[str]) -> str:
        name, end = variable.groups()
        if not end or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{shown(variable[0])} names no variable; write ${{NAME}}")
        if name not in os.environ:
            raise ValueError(f"the environment variable {name} is not set; set it, or write out the path")
        return os.environ[name]

    text = _VARIABLE.sub(value, path)
    # What a variable holds is no pattern: only a ~ that is written here is a home folder.
    home = text if path.startswith("~") else ""
    full = os.path.expanduser(home)
    if home and full == home:
        user = home.split("/")[0]
        raise ValueError(f"no home folder of {shown(user)} is known here; a folder of that name is ./{user}")
    return full or text


def remote_problem(path: str | Path) -> str | None:
    """Why a path is no path of this host's file system, in words; None if it may be one. A Path has lost one of the
    slashes of s3://bucket, and may stand behind the folder that it was taken to be relative to."""
    parts = Path(path).parts
    for index, part in enumerate(parts):
        scheme = _SCHEME.fullmatch(part)
        # A folder may be named so; a bucket is not one that exists.
        if scheme and index + 1 < len(parts) and not os.path.exists(Path(*parts[: index + 1])):
            where = "/".join(parts[index + 1 :])
            if scheme[1] == "file":
                return f"file://{where} is a URL; write the path alone: /{where}"
            url = f"{scheme[1]}://{where}"
            return f"{url} is not on this host; only its file system is read: mount it, or copy it to a folder"
    return None


def rest_problem(name: str) -> str | None:
    """Why no REST path can carry a model's name, in words; None if one can."""
    if name in _NOT_IN_A_PATH:
        return _NOT_IN_A_PATH[name]
    if "/" in name:
        return "a path is cut at its /"
    if ":" in name:
        return "what follows its : is taken for a method, such as :predict"
    if any(character.isspace() or not character.isprintable() for character in name):
        return "it has white space or characters that cannot be printed"
    return None


def numbered_folders(path: Path) -> tuple[dict[int, Path], list[str]]:
    """The version folders under a model's path, and a sentence for each number that is not served: another folder has
    it, such as 001 beside 1, it is too large for one, or it cannot be looked at. OSError if the path cannot be read."""
    folders: dict[int, Path] = {}
    not_served = []
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not is_number(entry.name):
                continue
            try:
                if entry.is_dir():
                    names.append(entry.name)
                elif entry.is_symlink():
                    not_served.append(f"{entry.path} is not served: it is a link to no folder")
            except OSError as error:
                not_served.append(f"{entry.path} is not served: {(error.strerror or str(error)).lower()}")
    # The shortest name of a number is the one without zeros before it.
    for name in sorted(names, key=lambda name: (int(name), len(name))):
        version = version_number(name)
        if version is None:
            not_served.append(f"{path / name} is not served: a version is {VERSION_MAX} at most; rename it")
            continue
        taken = folders.setdefault(version, path / name)
        if taken.name != name:
            not_served.append(
                f"{path} has version {version} twice: {taken.name} is served, {name} is not; remove or rename one"
            )
    return folders, not_served
