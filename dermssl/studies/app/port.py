"""The address and port that the page is at."""

import errno
import ipaddress
import socket

from dermssl.core.errors import UserError

CONNECTIONS = 256  # more are refused before they have sent anything
ELSEWHERE = "isn't an address of this machine; leave it out for this machine alone"


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; 0 is any free port.

    Raises:
        UserError: the port is in use or not allowed, or the host isn't one of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError:
        raise UserError(f"app.host {host}: {ELSEWHERE}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
        found.listen(CONNECTIONS)
        return found
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"app.host {host}: {ELSEWHERE}") from None
        why = (error.strerror or str(error)).lower()
        raise UserError(
            f"app.port {port} of {host}: can't be used ({why}); give another, or 0 for any free one"
        ) from None


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server there.

    Example:

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
