"""The manifest: what to serve, where and how."""

from corelane.processor.manifest.loader import load_manifest, parse_manifest
from corelane.processor.manifest.settings import (
    DivergenceSettings,
    HostSettings,
    ListenSettings,
    Manifest,
    ModelSettings,
    QueueSettings,
    VersionPolicy,
    VersionSettings,
)

__all__ = [
    "DivergenceSettings",
    "HostSettings",
    "ListenSettings",
    "Manifest",
    "ModelSettings",
    "QueueSettings",
    "VersionPolicy",
    "VersionSettings",
    "load_manifest",
    "parse_manifest",
]
