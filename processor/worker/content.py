"""What a version's files hold, as a load needs it."""

import hashlib
from pathlib import Path

from processor.errors import LoadError
from processor.model_files import Content, content_of


def readable_content(folder: Path) -> Content:
    """What is in a version's folder and behind its links. LoadError if the folder cannot be read."""
    try:
        return content_of(folder)
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error}") from error


def content_key(folder: Path, *about: object) -> str:
    """Changes with the content of the files, and with whatever else it is `about`. LoadError if one cannot be read."""
    content = readable_content(folder)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(about).encode())
    try:
        for name, path in sorted(content.files.items()):
            digest.update(repr((name, path.stat().st_size)).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error}") from error
    return digest.hexdigest()
