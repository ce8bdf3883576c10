"""The files of a version's folder, and those that its links lead to.

A link opens what it names and nothing beside it: whoever may put a link into a version's folder may not thereby read
what the server can read and they cannot.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

# What file systems and desktops leave behind: no part of any model.
_LITTER = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+|\.fuse_hidden[0-9a-f]+")
_LINKED_MAX = 10_000  # files and folders behind links
# No model has a file there.
_SYSTEM = tuple(Path(name) for name in ("/etc", "/proc", "/sys", "/dev", "/run", "/boot"))
# What tells an engine that a folder holds a model (`engines.selection` says whose each is).
_MODELS = ("saved_model.pb", "saved_model.pbtxt", "plan.json", "*.onnx", "*.xml")


@dataclass(frozen=True, slots=True)
class Content:
    """`files` by name in the version's folder, as they are without links. `linked` are those that lie outside of it,
    and `folders` the folders that do: the names in them may be read. `visited` are all folders. `refused` says of a
    link's name why it is not followed; `broken` are the names of links that lead nowhere."""

    files: dict[str, Path] = field(default_factory=dict)
    linked: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    visited: list[Path] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def content_of(folder: Path) -> Content:
    """All below a folder, through links, each folder once; without what no model consists of. OSError if a part of it
    cannot be read."""
    content = Content()
    root = real_path(folder)
    # A folder, its name, and the owner of the link that led to it, if one did.
    waiting: list[tuple[Path, str, int | None]] = [(root, "", None)]
    seen = {root}
    while waiting:
        directory, prefix, owner = waiting.pop()
        content.visited.append(directory)
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            if is_litter(entry.name):
                continue
            name = prefix + entry.name
            path, link_owner = Path(entry.path), owner
            if entry.is_symlink():
                path, own = real_path(path), entry.stat(follow_symlinks=False).st_uid
                if not path.is_relative_to(root):
                    link_owner = own if owner in (None, 0) else owner
            if not os.path.exists(path):
                if entry.is_symlink():
                    content.broken.append(name)
                continue
            if link_owner is not None and (reason := _why_refused(path, link_owner, root, content)):
                content.refused[name] = f"{path} {reason}"
            elif path.is_file():
                content.files[name] = path
                if link_owner is not None:
                    content.linked.append(path)
            elif path.is_dir() and path not in seen:
                seen.add(path)
                waiting.append((path, f"{name}/", link_owner))
                if link_owner is not None:
                    content.folders.append(path)
    return content


def holds_model(folder: Path) -> bool:
    """Whether a folder itself has a file that an engine loads a model from."""
    return any(visible_files(folder, pattern) for pattern in _MODELS)


def real_path(path: Path) -> Path:
    """A path without links, as far as they lead; one that leads to itself stays as it is. Unlike `Path.resolve`, which
    raises for that one before Python 3.13."""
    return Path(os.path.realpath(path))


def _why_refused(path: Path, link_owner: int, root: Path, content: Content) -> str:
    """Why a link of this owner does not open a path outside of the version's folder; empty if it does."""
    if any(path.is_relative_to(system) for system in _SYSTEM):
        return "is the system's"
    if root.is_relative_to(path):
        return "is around the version's folder"
    if len(content.linked) + len(content.folders) >= _LINKED_MAX:
        return f"is one of more than {_LINKED_MAX} files"
    status = path.stat()
    if link_owner not in (0, status.st_uid) and not status.st_mode & stat.S_IROTH:
        return "may not be read by everybody, and the link is not its owner's"
    return ""


def is_litter(name: str) -> bool:
    """Whether a file is none of a model's, by its name: macOS's ._weights, NFS's .nfs0001, and the like."""
    return _LITTER.fullmatch(os.path.basename(name)) is not None


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """The files right in a folder that match, in order; without the hidden ones."""
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))
