"""Addresses to listen on: who reaches them, and how they stand in a URL."""

import socket
from ipaddress import ip_address

_BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """The listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def address(host: str, port: int) -> str:
    """host:port as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; of a name, whether that holds of all its addresses."""
    if not host:
        return False  # to a socket that is every address
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return all(ip_address(one.partition("%")[0]).is_loopback for one in found)


def reached_at(host: str) -> str:
    """Where this machine reaches what listens on ``host``."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
