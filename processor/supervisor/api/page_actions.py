"""Who may change, from a page in a browser, whose calls go where; and how other sites' pages are kept out."""

import ipaddress
import socket
from enum import StrEnum
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from corelane.processor.errors import PermissionRefused
from corelane.processor.gateway.access import Access
from corelane.processor.manifest import ListenSettings
from corelane.processor.supervisor import tasks
from corelane.processor.supervisor.traffic import DISK_S

# What a page may post to.
_PATHS = ("/v1/traffic",)
# What probes and scrapers ask, by whatever name they know the host by.
_PROBED = ("/metrics", "/v1/live", "/v1/ready")
_OFF = (
    "the page may only look; `listen.page_actions: true` in the manifest, and a restart, let it act; the commands of "
    "`corelane` can in any case"
)


class Mode(StrEnum):
    """Whether the page may act: not at all, with a manager's key, or as whoever is on this host."""

    OFF = "off"
    KEY = "key"
    OPEN = "open"


def mode_of(listen: ListenSettings) -> Mode:
    """The manifest's loader has seen to it that somebody may be told from others, or that nobody else comes."""
    if not listen.page_actions:
        return Mode.OFF
    return Mode.OPEN if listen.auth is None else Mode.KEY


class PageActions:
    """Thread safety: every method from the event loop."""

    def __init__(self, listen: ListenSettings) -> None:
        """StartError if keys cannot be read."""
        self._mode = mode_of(listen)
        self._access = Access(listen.auth if self._mode is Mode.KEY else None)

    async def name_of(self, headers: Headers, host: str) -> str:
        """Who acts. PermissionRefused if the page may not, or they are no manager, Unauthenticated without a good key;
        TimeoutError if the keys' file system hangs."""
        if self._mode is Mode.OFF:
            raise PermissionRefused(_OFF)
        if self._mode is Mode.OPEN:
            return "the page"
        name = await tasks.on_daemon_thread(
            lambda: self._access.identify(headers.get, host, manages=True), "page's key", DISK_S
        )
        return f"{name}, the page"


def is_from_a_page(headers: Headers) -> bool:
    """Whether a browser sends it for a page, and not a command: then there is one of these."""
    return "origin" in headers or "sec-fetch-site" in headers


def refusal(method: str, path: str, headers: Headers) -> str:
    """Why a request is not even looked at, or nothing. Pages of other sites in an operator's browser can send what is
    no JSON without asking first, come by a name that is not this host's (DNS rebinding), and say where they come
    from."""
    host = headers.get("host", "")
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "send JSON, and say so: Content-Type: application/json"
    if path not in _PROBED and not _is_address(host):
        return "ask by an address or as localhost, not by another name"
    if method != "POST" or not is_from_a_page(headers):
        return ""
    origin = headers.get("origin", "")
    if origin.partition("://")[2].lower() != host.lower():
        return f"a page of {origin or 'another site'} may not post here; open the page of {host}"
    if path not in _PATHS:
        return f"a page may not post to {path}; use `corelane`"
    return ""


def _is_address(host: str) -> bool:
    """Whether a Host header has an IP address, localhost, or this machine's own name."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("", "localhost", socket.gethostname().lower()):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
