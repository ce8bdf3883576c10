"""What a version's files hold, as a key."""

import hashlib
from pathlib import Path

from processor.model_files import tree_of


def content_key(folder: Path, *about: object) -> str:
    """Changes with the content of the files, those behind links included, and with whatever else it is `about`."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(about).encode())
    for name, path in tree_of(folder).files.items():
        if path.is_file():
            digest.update(repr((name, path.stat().st_size)).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
