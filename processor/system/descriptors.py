"""File descriptors: each process has so many, a client's connection takes one, and clients must not take those that
serving itself needs."""

import contextlib
import resource
import threading
from collections.abc import Iterator

# Of a gateway: for the channels that it maps one after the other, its files, certificates and keys.
RESERVE = 64
# What a gateway has open besides clients: libraries, pipes, listeners, pollers.
_OWN = 64
_CONNECTIONS_MIN = 16
_CONNECTIONS_MAX = 50_000  # from here on their memory is what counts

_lock = threading.Lock()
_users = 0


def raise_limit() -> int:
    """As far as the system allows; children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_max() -> int:
    """How many clients a process may have, by its descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = _CONNECTIONS_MAX if hard == resource.RLIM_INFINITY else hard - RESERVE - _OWN
    return min(max(room, _CONNECTIONS_MIN), _CONNECTIONS_MAX)


def keep_reserve() -> None:
    """The kernel refuses this process the last `RESERVE` descriptors, but within `reserve`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard > 2 * RESERVE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard - RESERVE, hard))


@contextlib.contextmanager
def reserve() -> Iterator[None]:
    """What is opened within may take from the reserve. Thread safety: any thread, at any time."""
    global _users
    with _lock:
        _users += 1
        raise_limit()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                keep_reserve()
