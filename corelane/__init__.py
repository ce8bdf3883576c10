"""Corelane serves many recommendation-model versions from one CPU host. This package is its front door.

import corelane

client = corelane.Client("127.0.0.1:8500")
outputs = client.predict("ctr", {"user_id": ["u1", "u2"], "price": [9.5, 3.0]})

The client is imported on first use, because a server's processes import this package, too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corelane import errors
    from corelane.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "errors"]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("corelane.errors")
    if name in __all__:
        return getattr(import_module("corelane.client"), name)
    raise AttributeError(f"module 'corelane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
