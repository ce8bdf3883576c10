"""What this is, to whoever asks."""

from importlib.metadata import version

VERSION = version("corelane")
