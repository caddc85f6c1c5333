"""Addresses that a tenant gives: which of them may be called, and connecting to the very address that was checked.

A store's address is the one URL that a tenant chooses. Without these checks it could name the deployment's own network (a
database, a cloud's metadata service at 169.254.169.254), and what answers there would end up in the tenant's raw data.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore
import httpx
import idna

from analytics_assets.sources.failures import RetryLater, WrongConfiguration

# From IANA's registries of special-purpose addresses. ipaddress.is_global is no substitute: what it says of 6to4, NAT64,
# site-local and multicast addresses differs from one Python 3.11 to the next.
_SPECIAL = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        # Within 2000::/3: Teredo and other protocol assignments, documentation, 6to4.
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
]
_GLOBAL_UNICAST = ip_network("2000::/3")
# What a resolver makes of an IPv4 address in a network that speaks IPv6 alone.
_NAT64 = ip_network("64:ff9b::/96")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Seconds that a look-up for the sake of a message may take.
_LOOK_UP = 5.0
_PORTS = {"https": 443, "http": 80}
_EXPECTED = "expected the store's public address, such as https://shop.example or https://shop.example/store"


def is_public(address: str) -> bool:
    """Whether an IP address (text) lies in the public internet. Embedded IPv4: only NAT64's, where that one is public."""
    try:
        value: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(value, IPv6Address):
        if value in _NAT64:
            value = IPv4Address(int(value) & 0xFFFFFFFF)
        elif value not in _GLOBAL_UNICAST:
            return False
    return not any(value in network for network in _SPECIAL)


def normal_host(host: str) -> str:
    """A host in the one spelling in which it is compared, resolved and called: lower-case, ASCII, without a trailing dot.

    Raises ValueError with what is wrong: no host name, or an IP address in a spelling that others may read otherwise.
    """
    host = host.removeprefix("[").removesuffix("]")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise ValueError("this is no host name") from None
    host = host.lower().removesuffix(".")
    try:
        value = ip_address(host)
    except ValueError:
        pass
    else:
        if "%" in host:
            raise ValueError("an address with a zone is one of a local network")
        return value.compressed
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("this is no host name")
    if _NUMBER.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are all 127.0.0.1 to some resolvers.
        raise ValueError("an IP address is written as four decimal numbers without leading zeros")
    return host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_and_port(host: str, port: int) -> str:
    """As in allowed_hosts: "shop.example:443", "[::1]:8080"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shown(url: str) -> str:
    """A URL for messages: without userinfo, query and fragment, even where it is so broken that they cannot be told apart."""
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, rest = "", url
    cut = re.search(r"[?#]", rest)
    head, tail = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    # A password may hold a question mark, a query an @.
    head = "..." if "@" in tail else head.rpartition("@")[2]
    authority, slash, path = head.partition("/")
    if not re.fullmatch(r"(\[[^\[\]]*\]|[^:]*)(:\d{0,5})?", authority, re.ASCII):
        # What stands where a port belongs may be a key.
        head = f"{authority.partition(':')[0]}:...{slash}{path}"
    text = f"{scheme[:10]}{found}{head}"
    return repr(text if len(text) <= 200 else text[:200] + "...")


def check_store_url(url: str, allowed_hosts: Collection[str]) -> str:
    """The normal form of a store's address: scheme, host, port where it is not the usual one, path without a slash at its end.

    ``allowed_hosts``: host:port of stores that may lie in a private network or speak plain http. Raises WrongConfiguration.
    """

    def wrong(problem: str) -> WrongConfiguration:
        return WrongConfiguration(f"store_url {_shown(url)}: {problem}; {_EXPECTED}")

    url = url.strip()
    if re.search(r"[\x00-\x20\x7f\\]", url):
        # Readers of URLs differ over where the host ends then.
        raise wrong("no blank, backslash or control character may stand in it")
    try:
        parts = urlsplit(url)
        given, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong("host or port cannot be read") from None
    if parts.scheme not in _PORTS:
        raise wrong("it has to begin with https://")
    if "@" in parts.netloc:
        raise wrong("no user or password may stand in it: the key belongs into consumer_key and consumer_secret")
    if "?" in url or "#" in url:
        raise wrong("nothing may follow the path: no ? and no #")
    if not given:
        raise wrong("the host is missing")
    if port == 0 or parts.netloc.endswith(":"):
        raise wrong("the port cannot be read")
    try:
        host = normal_host(given)
    except ValueError as error:
        raise wrong(str(error)) from None
    usual = _PORTS[parts.scheme]
    if host_and_port(host, port or usual) not in allowed_hosts:
        if parts.scheme != "https":
            raise wrong("plain http shows the key to everybody on the way; it has to begin with https://")
        if _is_address(host):
            if not is_public(host):
                raise wrong(f"{host} is no address of the public internet")
        elif "." not in host or host.endswith(".localhost"):
            raise wrong(f"{host} is no name of the public internet")
    if any(segment in (".", "..") for segment in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise wrong("its path may not hold . or .. as a folder")
    place = f"[{host}]" if ":" in host else host
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._").rstrip("/")
    return f"{parts.scheme}://{place}{f':{port}' if port and port != usual else ''}{path}"


async def resolve_public(host: str, port: int, allowed_hosts: Collection[str]) -> list[str]:
    """The IP addresses of a host, in the resolver's order.

    Raises WrongConfiguration where any of them is not public (unless host:port is allowed), RetryLater where the name is
    not known. One private address is enough to refuse: which of several is taken would be a matter of chance.
    """
    try:
        name = normal_host(host)
    except ValueError as error:
        raise WrongConfiguration(f"store_url: host {host[:100]!r}: {error}; {_EXPECTED}") from None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise RetryLater(f"{name}: the name is not known; where it stays so, correct store_url")
    if host_and_port(name, port) not in allowed_hosts:
        for address in addresses:
            if not is_public(address):
                leads = "" if address == name else f" leads to {address}, which"
                raise WrongConfiguration(
                    f"store_url: {name}{leads} is no address of the public internet, and not allowed; {_EXPECTED}. For a store "
                    f"in a private network the operator adds {host_and_port(name, port)} to ANALYTICS_STORE_HOSTS"
                )
    return addresses


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only.

    The name is resolved once, here; the connection goes to an address of that answer. A second look-up, as an ordinary
    client makes it after a check, may be answered with another address (DNS rebinding). TLS is none of its business: the
    host's name is asked for, and the certificate checked against it, as ever.
    """

    def __init__(self, allowed_hosts: Collection[str]) -> None:
        self._allowed, self._network = allowed_hosts, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Tries the host's addresses one after the other, all within ``timeout`` seconds."""
        end = time.monotonic() + timeout if timeout is not None else None
        try:
            async with asyncio.timeout(timeout):
                addresses = await resolve_public(host, port, self._allowed)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None
        for left in range(len(addresses), 0, -1):
            # One that is silent leaves its share to the others.
            share = None if end is None else max(end - time.monotonic(), 0.001) / left
            try:
                return await self._network.connect_tcp(addresses[-left], port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: a socket file is no public address."""
        raise httpcore.ConnectError("no socket file is connected to")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def public_transport(
    context: ssl.SSLContext, allowed_hosts: Collection[str], max_connections: int, keepalive_expiry: float
) -> httpx.AsyncHTTPTransport:
    """A transport of httpx whose every connection is made by PublicOnly.

    The one place that reaches into httpx (0.28): its transport takes no network backend, httpcore's pool does. Fails loudly
    where a new version keeps its pool elsewhere, since everything would go on working, unguarded.
    """
    transport = httpx.AsyncHTTPTransport(verify=context)
    if not isinstance(getattr(transport, "_pool", None), httpcore.AsyncConnectionPool):
        raise RuntimeError("httpx keeps its connection pool elsewhere in this version: mend public_transport")
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=keepalive_expiry,
        network_backend=PublicOnly(allowed_hosts),
    )
    return transport


async def redirect_failure(
    host: str, url: str, location: str, status: int, *, is_store: bool, allowed_hosts: Collection[str]
) -> WrongConfiguration:
    """What to tell of a redirect, which is never followed: the credentials would go along, to wherever it leads.

    ``host``: who redirects; ``url``: what was called; ``location``: the header. ``is_store``: the address is a tenant's.
    """
    subject = f"store_url: the store {host}" if is_store else host
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        name, port = normal_host(there.hostname or ""), there.port or _PORTS[there.scheme]
    except (ValueError, KeyError):
        return WrongConfiguration(f"{subject} redirects (HTTP {status}) to an address that cannot be read", status=status)
    if (there.scheme, name, port) == (here.scheme, here.hostname, here.port or _PORTS.get(here.scheme)):
        return WrongConfiguration(
            f"{subject} redirects (HTTP {status}) to another page of its own, such as a login page; see that the address is "
            "complete, and that nothing redirects calls of the API",
            status=status,
        )
    where = f"{there.scheme}://{host_and_port(name, port) if there.port else name}"
    if not is_store:
        advice = "see that the vendor's address in the deployment's settings is the one that answers itself"
        return WrongConfiguration(f"{subject} redirects (HTTP {status}) to {where}; {advice}", status=status)
    try:
        async with asyncio.timeout(_LOOK_UP):
            await resolve_public(name, port, allowed_hosts)
    except WrongConfiguration:
        verdict = "which is not allowed: it is no address of the public internet. Have the store answer at its own address"
    except (RetryLater, TimeoutError):
        verdict = "a name that is not known. Have the store answer at its own address"
    else:
        verdict = f"which is allowed; if that is the store, set store_url to {where}"
        if there.scheme != "https" and host_and_port(name, port) not in allowed_hosts:
            verdict = "which is not allowed, since it is not https. Have the store answer over https"
    return WrongConfiguration(f"{subject} redirects (HTTP {status}) to {where}, {verdict}", status=status)
