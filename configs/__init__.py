"""Manifests that run as they are."""

from pathlib import Path


def path(name: str) -> Path:
    """Where the manifest `name` (such as "demo.yaml") is installed."""
    return Path(__file__).parent / name
