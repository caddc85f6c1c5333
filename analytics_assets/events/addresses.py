"""Where a visitor is: the address that counts, cut before it is stored, and what a proxy's headers say of country and city."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_KEPT_BITS = {4: 24, 6: 48}
#: Country of the peer by the proxies that tell it; XX and T1 (Tor) are Cloudflare's words for none.
_COUNTRY_HEADERS = (
    b"cf-ipcountry",
    b"x-vercel-ip-country",
    b"cloudfront-viewer-country",
    b"x-appengine-country",
    b"x-country-code",
)
_CITY_HEADERS = (b"cf-ipcity", b"x-vercel-ip-city", b"cloudfront-viewer-city", b"x-appengine-city", b"x-city")
_COUNTRY = re.compile(r"[A-Z]{2}")
_NO_COUNTRY = frozenset({"XX", "T1", "ZZ"})


@lru_cache(maxsize=20_000)
def read_address(text: str) -> Address | None:
    """An address from text, also one with a port; an IPv4 address within an IPv6 one is that address; 0.0.0.0 is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_unspecified else address


def country_code(text: object) -> str | None:
    """A country's two letters (ISO 3166-1), in capitals."""
    code = text.strip().upper() if isinstance(text, str) else ""
    return code if _COUNTRY.fullmatch(code) and code not in _NO_COUNTRY else None


def place_of(headers: Mapping[bytes, bytes]) -> tuple[str | None, str | None]:
    """(country, city) of the peer, where a header tells them."""
    country = next((code for name in _COUNTRY_HEADERS if (code := country_code(headers.get(name, b"").decode("latin-1")))), None)
    raw = next((headers[name] for name in _CITY_HEADERS if headers.get(name)), b"")
    city = unquote(raw.decode("utf-8", "replace")).replace("\x00", "").strip()[:100] or None if raw else None
    return country, city


@dataclass(frozen=True, eq=False)
class AddressRules:
    """keep: truncate (to /24 and /48), none, or full. proxies: whose X-Forwarded-For is believed.

    Told apart by identity: they are part of a key that is looked up for every event.
    """

    keep: str = "truncate"
    proxies: tuple[Network, ...] = ()

    def client(self, peer: str | None, forwarded: Iterable[str]) -> Address | None:
        """Who is at the other end: the peer; behind trusted proxies the last address that is none of theirs."""
        address = read_address(peer) if peer else None
        if not self.proxies:
            return address
        hops = [hop for line in forwarded for hop in line.split(",") if hop.strip()]
        while hops and address is not None and any(address in network for network in self.proxies):
            address = read_address(hops.pop())
        return address

    def kept(self, address: Address | None) -> Address | None:
        """What of an address is stored."""
        if address is None or self.keep == "none":
            return None
        if self.keep == "full":
            return address
        dropped = address.max_prefixlen - _KEPT_BITS[address.version]
        return type(address)(int(address) >> dropped << dropped)
