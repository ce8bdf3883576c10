"""Calls of a server from Python: `Client`, and `AsyncClient` for asyncio. Neither needs what serving needs."""

from corelane.client.asynchronous import AsyncClient
from corelane.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
