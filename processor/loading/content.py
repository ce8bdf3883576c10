"""What a version's files hold, as a load needs it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from corelane.processor.errors import LoadError
from corelane.processor.loading.model_files import Content, content_of


def readable_content(folder: Path) -> Content:
    """What is in a version's folder and behind its links. LoadError if the folder cannot be read."""
    try:
        return content_of(folder)
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error}") from error


def content_key(folder: Path, *about: object, libraries: Sequence[str] = ()) -> str:
    """Changes with the content of the files and of the libraries, and with whatever else it is `about`. LoadError if
    one cannot be read."""
    files = [*sorted(readable_content(folder).files.items()), *((library, Path(library)) for library in libraries)]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(about).encode())
    try:
        for name, path in files:
            digest.update(repr((name, path.stat().st_size)).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error}") from error
    return digest.hexdigest()
