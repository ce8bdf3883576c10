"""The files of a version's folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

# What file systems and desktops leave behind: no part of any model.
_LITTER = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+|\.fuse_hidden[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTree:
    """`files`: where each file is, by its relative name. `folders`: all there are, and where links have led to."""

    files: dict[str, Path]
    folders: dict[str, str]


def tree_of(folder: Path) -> FileTree:
    """All below a folder, through links, each folder once; without what no model consists of. OSError if a part of it
    cannot be read."""
    files: dict[str, Path] = {}
    folders: dict[str, str] = {}

    def refuse(error: OSError) -> None:
        raise error

    for base, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(base)
        if place in folders.values():  # a link that leads back
            below.clear()
            continue
        folders[base] = place
        files.update({os.path.relpath(Path(base, name), folder): Path(base, name) for name in names})
    return FileTree(files={name: files[name] for name in sorted(files) if not is_litter(name)}, folders=folders)


def is_litter(name: str) -> bool:
    """Whether a file is none of a model's, by its name: macOS's ._weights, NFS's .nfs0001, and the like."""
    return _LITTER.fullmatch(os.path.basename(name)) is not None


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """The files right in a folder that match, in order; without the hidden ones."""
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))
