"""The address and port that a page is at."""

import errno
import ipaddress
import socket

from dermssl.core.errors import UserError

CONNECTIONS = 256  # more are refused before they have sent anything
OTHERS = 100  # ports that are tried for one to name in place of one in use
ELSEWHERE = "isn't an address of this machine; leave it out for this machine alone"


def listen(host: str, port: int, section: str) -> socket.socket:
    """A socket that listens.

    Args:
        host: address or name of this machine.
        port: 0 is any free one.
        section: of the settings `host` and `port`, to name them by.

    Raises:
        UserError: the port is in use or not allowed, with one that can be had; or the host isn't
            one of this machine.
    """
    try:
        return _listening(host, port)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"{section}.host {host}: {ELSEWHERE}") from None
        why = (error.strerror or str(error)).lower()
        raise UserError(
            f"{section}.port {port} of {host}: can't be used ({why}); use {section}.port "
            f"{_other(host, port)}"
        ) from None


def _listening(host, port):
    family, kind, protocol, _, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(CONNECTIONS)
    except OSError:
        listening.close()
        raise
    return listening


def _other(host, port):
    """The next port that can be had, in words."""
    for other in range(port + 1, min(port + OTHERS, 65535) + 1):
        try:
            _listening(host, other).close()
        except OSError:
            continue
        return str(other)
    return "with another number"


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
