"""Taking the server's port before any gateway starts."""

import ipaddress
import socket

from corelane.processor.errors import StartError


def listening_socket(address: str) -> socket.socket:
    """A socket that listens on host:port, for this process alone. StartError if it cannot."""
    family, endpoint = endpoint_of(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(endpoint)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {address}: {error.strerror or error}") from error
    return listener


class ReservedPort:
    """Holds host:port for the gateways, which share it by SO_REUSEPORT.

    The socket held here never listens, so it gets no connection; it keeps the number ours between the deaths of
    gateways, and turns port 0 into a number."""

    def __init__(self, address: str) -> None:
        """StartError if another process listens there. The check is a bind without SO_REUSEPORT: with it, a second
        server of the same user would silently share the first one's clients."""
        family, endpoint = endpoint_of(address)
        if endpoint[1] != 0:
            listening_socket(address).close()
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind(endpoint)
        except OSError as error:
            self._socket.close()
            raise StartError(f"cannot listen on {address}: {error.strerror or error}") from error
        self.address = with_port(address, self._socket)

    def close(self) -> None:
        self._socket.close()


def with_port(address: str, bound: socket.socket) -> str:
    """The address with the port that a socket bound to it really has."""
    return f"{address.rpartition(':')[0]}:{bound.getsockname()[1]}"


def is_loopback(address: str) -> bool:
    """Whether nobody on another host reaches host:port."""
    host = endpoint_of(address)[1][0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def endpoint_of(address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """What a socket is made and bound with."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))
