"""Corelane serves many recommendation-model versions from one CPU host. This package is its front door.

import corelane

client = corelane.Client("127.0.0.1:8500")
outputs = client.predict("ctr", {"user_id": ["u1", "u2"], "price": [9.5, 3.0]})
"""

from corelane import errors
from corelane.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "errors"]
