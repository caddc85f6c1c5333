"""A staged event, and its form in PostgreSQL's binary COPY (documented with the COPY command).

Written out here because psycopg's own writing of a row, value by value, took three times as long as reading the message.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import NamedTuple

from psycopg.types.numeric import DecimalBinaryDumper

#: What begins and what ends a COPY.
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
COPY_STATEMENT = """copy pg_temp.staged_events (
    slot, organization_id, id, "timestamp", received_at, signed_up_at, event_type, event_name, event_category, event_action,
    event_label, currency, page_url, user_id, anonymous_id, previous_id, own_session_id, event_value, referrer, user_agent,
    ip_address, country, city, device_type, browser, os, email_hash, metadata) from stdin (format binary)"""

_COLUMNS = COPY_STATEMENT.count(",") + 1
_NULL = b"\xff\xff\xff\xff"
_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SLOTS = 1 << 31
_FIXED = Struct(">hiii16si16siqiq")
_LENGTH = Struct(">i")
_INSTANT = Struct(">iq")
_length = _LENGTH.pack
_decimal = DecimalBinaryDumper(Decimal)
_MOST_PLACES = 20_000


class Place(NamedTuple):
    """Where and with what a visitor was: what only live eyes need."""

    user_agent: str | None = None
    ip_address: IPv4Address | IPv6Address | None = None
    country: str | None = None
    city: str | None = None
    device_type: str | None = None
    browser: str | None = None
    os: str | None = None


class StagedEvent(NamedTuple):
    """One row of pg_temp.staged_events, but for its slot. id, organization_id: 16 bytes; metadata: JSON."""

    organization_id: bytes
    id: bytes
    timestamp: datetime
    received_at: datetime
    signed_up_at: datetime | None
    event_type: str
    event_name: str
    event_category: str | None
    event_action: str | None
    event_label: str | None
    currency: str | None
    page_url: str | None
    user_id: str | None
    anonymous_id: str | None
    previous_id: str | None
    own_session_id: str | None
    event_value: Decimal | None
    referrer: str | None
    place: Place
    email_hash: bytes | None
    metadata: bytes


@lru_cache(maxsize=1024)
def _received(at: datetime) -> int:
    return _microseconds(at)


def _microseconds(at: datetime) -> int:
    return (at - _2000) // _MICROSECOND


_places: dict[int, tuple[Place, bytes]] = {}


def _field(value: bytes | None) -> bytes:
    return _NULL if value is None else _length(len(value)) + value


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    raw = value.encode()
    return _length(len(raw)) + raw


@lru_cache(maxsize=20_000)
def _words(*values: str | None) -> bytes:
    """Texts of which an organisation has few."""
    return b"".join(map(_text, values))


def _place(place: Place) -> bytes:
    """By the object, not by its value: most places come from a cache, and hashing one, address and all, takes longer than the rest."""
    found = _places.get(id(place))
    # It is held, so nothing else can have come to have its id.
    if found is not None and found[0] is place:
        return found[1]
    address = place.ip_address
    packed = None
    if address is not None:
        # Family (AF_INET, and one more for version 6, wherever it runs), prefix, no network, length.
        packed = bytes([2 if address.version == 4 else 3, address.max_prefixlen, 0, len(address.packed)]) + address.packed
    wired = b"".join(
        [_text(place.user_agent), _field(packed), _text(place.country), _text(place.city), _text(place.device_type),
         _text(place.browser), _text(place.os)]
    )  # fmt: skip
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    _places[id(place)] = (place, wired)
    return wired


def encoded(event: StagedEvent, slot: int) -> bytes:
    """The row as COPY takes it. slot: any number; it is cut to what an integer holds. Raises UnicodeEncodeError."""
    (organization_id, identity, at, received_at, signed_up_at, event_type, name, category, action, label, currency, page_url,
     user_id, anonymous_id, previous_id, own_session_id, value, referrer, place, email_hash, metadata) = event  # fmt: skip
    return b"".join((
        _FIXED.pack(_COLUMNS, 4, slot % _SLOTS, 16, organization_id, 16, identity, 8, _microseconds(at), 8, _received(received_at)),
        _NULL if signed_up_at is None else _INSTANT.pack(8, _microseconds(signed_up_at)),
        _words(event_type, name, category, action),
        _NULL if label is None else _text(label),
        _NULL if currency is None else _text(currency),
        _NULL if page_url is None else _text(page_url),
        _NULL if user_id is None else _text(user_id),
        _NULL if anonymous_id is None else _text(anonymous_id),
        _NULL if previous_id is None else _text(previous_id),
        _NULL if own_session_id is None else _text(own_session_id),
        _NULL if value is None else _field(bytes(_decimal.dump(value) or b"")),
        _NULL if referrer is None else _text(referrer),
        _place(place),
        _NULL if email_hash is None else _field(email_hash),
        _length(len(metadata) + 1),
        b"\x01",
        metadata,
    ))  # fmt: skip
