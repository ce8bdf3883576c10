"""The client as tests of the server want it: what it is given it sends as it is, and once."""

from typing import Any

from corelane.client import Client


class PlainClient(Client):
    """Fits nothing, tries nothing again, and sets no deadline of its own."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **{"fit": False, "retries": 0, "timeout_s": None, **options})
