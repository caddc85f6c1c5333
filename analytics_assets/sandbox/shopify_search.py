"""Finding orders of a Shopify shop: search syntax, sorting and paging.

Of a time ``>`` and ``<`` mean the same as ``>=`` and ``<=``, as at Shopify: a client that reads window by window meets an
order of the very second of the border twice. A filter that is not known is read over, with a warning.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.shopify_graphql import Page, QueryError, cursor_of, page_size
from analytics_assets.sandbox.shopify_records import cursor, order_node
from analytics_assets.sandbox.store_state import STATE_DAYS, Entry, born_within, find, local_date

_TERM = re.compile(r"""(?P<name>\w+):(?P<sign>>=|<=|>|<|=)?(?P<value>'[^']*'|"[^"]*"|[^\s'"()]+)""")
_TIMES = {"updated_at": "UPDATED_AT", "processed_at": "PROCESSED_AT", "created_at": "CREATED_AT"}
_FOREVER = 1 << 40
_DAY = 86400


@dataclass
class Search:
    """What a query string asks for: seconds by the name of the time, both included; ids; test orders or not."""

    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    ids: frozenset[int] | None = None
    is_test: bool | None = None
    warnings: list[dict[str, str]] = field(default_factory=list)


def read_search(text: str, shop: Shop) -> Search:
    """Terms joined by AND or by nothing. Raises QueryError for a time that is none, and for OR and NOT, which are not served."""
    search = Search()
    rest = _TERM.sub(" ", text)
    if re.search(r"\b(OR|NOT)\b", rest) or "(" in rest:
        raise QueryError(f"The sandbox does not search by OR, NOT and brackets: {text[:80]!r}", "BAD_USER_INPUT")
    for term in _TERM.finditer(text):
        name, sign, value = term["name"], term["sign"] or "=", term["value"].strip("'\"")
        if name in _TIMES:
            at = _instant(value, shop)
            low, high = search.bounds.get(_TIMES[name], (0, _FOREVER))
            search.bounds[_TIMES[name]] = (
                max(low, at) if sign in (">", ">=", "=") else low,
                min(high, at) if sign in ("<", "<=", "=") else high,
            )
        elif name == "id" and value.isdigit() and sign == "=":
            search.ids = frozenset({int(value)})
        elif name == "test" and value in ("true", "false"):
            search.is_test = value == "true"
        elif (name, value) != ("status", "any"):
            search.warnings.append({"field": name, "message": "Invalid search field for this query.", "code": "invalid_field"})
    return search


def _instant(text: str, shop: Shop) -> int:
    """A time without an offset is the shop's."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"Invalid timestamp for query filter: {text[:40]!r}", "BAD_USER_INPUT") from None
    return int((at if at.tzinfo else at.replace(tzinfo=ZoneInfo(shop.time_zone))).timestamp())


def _sorted_by(key: str, entry: Entry, phase: int) -> int:
    if key == "UPDATED_AT":
        return entry.moments[phase]
    if key == "PROCESSED_AT":
        return entry.processed
    return entry.created if key == "CREATED_AT" else entry.id


def _days(search: Search, shop: Shop, first_day: date, now: int) -> tuple[date, date, date | None]:
    """Days of birth of what can be found: the first, the last, and the first of which all orders are looked at."""
    first, last, since = first_day, local_date(shop, now), None
    for key, (low, high) in search.bounds.items():
        back = STATE_DAYS if key == "UPDATED_AT" else 0
        first = max(first, local_date(shop, low - (back + 1) * _DAY)) if low else first
        last = min(last, local_date(shop, high + _DAY)) if high < _FOREVER else last
        since = local_date(shop, low) if low and back else since
    return first, last, since


def matching(search: Search, shop: Shop, first_day: date, now: int) -> list[tuple[Entry, int]]:
    """Orders and the state that each is in, by id."""
    if search.ids is not None:
        some = [find("shopify", shop, first_day, one) for one in search.ids]
        candidates = [entry for entry in some if entry is not None]
    else:
        candidates = list(born_within("shopify", shop, *_days(search, shop, first_day, now)))
    found = []
    for entry in candidates:
        phase = entry.phase(now)
        if phase < 0 or (search.is_test is not None and entry.is_test != search.is_test):
            continue
        if all(low <= _sorted_by(key, entry, phase) <= high for key, (low, high) in search.bounds.items()):
            found.append((entry, phase))
    return found


def order_page(arguments: Mapping[str, Any], shop: Shop, first_day: date, now: int) -> tuple[Page, list[dict[str, str]]]:
    """A page of orders, and warnings about the query. The cursor holds what the list is sorted by: an order that is updated
    between two pages moves to the end of the list, and no other one is left out or met twice. Raises QueryError."""
    search = read_search(arguments.get("query") or "", shop)
    size, key = page_size(arguments, "orders"), arguments["sortKey"]
    found = [(_sorted_by(key, entry, phase), entry.id, entry, phase) for entry, phase in matching(search, shop, first_day, now)]
    found.sort(key=lambda one: one[:2], reverse=bool(arguments.get("reverse")))
    start = 0
    if arguments.get("after"):
        value, identifier = cursor_of(arguments["after"])
        if not isinstance(value, int):
            raise QueryError("Invalid cursor for current pagination sort.", "BAD_USER_INPUT")
        if arguments.get("reverse"):
            start = bisect_right(found, (-value, -identifier), key=lambda one: (-one[0], -one[1]))
        else:
            start = bisect_right(found, (value, identifier), key=lambda one: one[:2])
    page = found[start : start + size]
    nodes = [order_node(shop, entry, phase) for _, _, entry, phase in page]
    return Page(nodes, [cursor(value, one) for value, one, _, _ in page], start + size < len(found), start > 0), search.warnings


def offset_text(shop: Shop, now: int) -> tuple[str, int]:
    """The shop's distance from UTC as "+0530" and in minutes."""
    offset = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(shop.time_zone))
    seconds = offset.utcoffset()
    return offset.strftime("%z"), 0 if seconds is None else int(seconds.total_seconds() // 60)
