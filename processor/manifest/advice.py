"""What is valid in a manifest and still may surprise."""

from processor.manifest.settings import Manifest


def warnings(manifest: Manifest) -> list[str]:
    """A sentence for each."""
    return [
        f"model {model.name}: {model.path} is not there; it will be served when it is"
        for model in manifest.models
        if not model.path.is_dir()
    ]
