"""The parameters of a list in WooCommerce's REST API, and what a page of the list carries besides its records."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from analytics_assets.sandbox.shop_world import Shop, gmt_text, local_text
from analytics_assets.sandbox.woocommerce_access import Refused

_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?", re.IGNORECASE)
_LISTED = re.compile(r"(\w+)\[\d*\]")
_SECRET = ("consumer_key", "consumer_secret")
_DAY = 86400


def read_params(request: Request) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The query as PHP reads it: of repeated names the last one; and ``name[]`` as a list, beside ``name`` with commas."""
    flat = dict(request.query_params)
    lists: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if listed := _LISTED.fullmatch(name):
            lists.setdefault(listed[1], []).append(value)
    for name, value in flat.items():
        lists.setdefault(name, [part.strip() for part in value.split(",") if part.strip()])
    return flat, lists


def invalid(name: str, message: str) -> Refused:
    """A parameter that is not as it should be."""
    return Refused(400, "rest_invalid_param", f"Invalid parameter(s): {name}", params={name: f"{name} {message}"})


@dataclass(frozen=True)
class Bounds:
    """Times strictly between two, as the store compares them: by its own clock, or in UTC where ``gmt`` says so.

    A ``Z`` or an offset is read over, as WordPress does: a time is what its digits say.
    """

    gmt: bool
    after: str | None
    before: str | None

    def __bool__(self) -> bool:
        return self.after is not None or self.before is not None

    def hold(self, shop: Shop, at: int) -> bool:
        """Whether the instant lies within."""
        text = (gmt_text(at) if self.gmt else local_text(shop, at)) or ""
        return (self.after is None or text > self.after) and (self.before is None or text < self.before)

    def widest(self) -> tuple[int | None, int | None]:
        """Instants within which it must lie, whatever the store's zone is."""
        ends = [None if end is None else int(datetime.fromisoformat(end).replace(tzinfo=UTC).timestamp())
                for end in (self.after, self.before)]  # fmt: skip
        return (None if ends[0] is None else ends[0] - _DAY), (None if ends[1] is None else ends[1] + _DAY)


@dataclass(frozen=True)
class Listing:
    """What every list takes."""

    params: Mapping[str, str]
    lists: Mapping[str, list[str]]
    page: int
    per_page: int
    orderby: str
    descending: bool
    fields: tuple[str, ...]
    include: frozenset[int]
    exclude: frozenset[int]
    created: Bounds
    modified: Bounds

    def cut(self, found: Sequence[Any]) -> Sequence[Any]:
        """The elements of the page."""
        start = (self.page - 1) * self.per_page
        return found[start : start + self.per_page]

    def keep(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record, or the fields of it that were asked for."""
        return _only(record, self.fields) if self.fields else record


def read_listing(
    params: Mapping[str, str],
    lists: Mapping[str, list[str]],
    orders: Collection[str],
    default: str = "date",
    ascending: bool = False,
) -> Listing:
    """Raises Refused, naming the first parameter that is wrong. ``orders``: what the list can be ordered by."""
    page, per_page = _number(params, "page", 1, 1, None), _number(params, "per_page", 10, 1, 100)
    orderby, order = params.get("orderby", default), params.get("order", "asc" if ascending else "desc")
    if orderby not in orders:
        raise invalid("orderby", f"is not one of {', '.join(orders)}.")
    if order not in ("asc", "desc"):
        raise invalid("order", "is not one of asc, desc.")
    gmt = params.get("dates_are_gmt", "").lower() in ("1", "true")
    return Listing(
        params, lists, page, per_page, orderby, order == "desc", tuple(lists.get("_fields", ())),
        _ids(lists, "include"), _ids(lists, "exclude"), _bounds(params, gmt, ""), _bounds(params, gmt, "modified_"),
    )  # fmt: skip


def _number(params: Mapping[str, str], name: str, default: int, least: int, most: int | None) -> int:
    text = params.get(name, str(default))
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise invalid(name, "is not of type integer.")
    if int(text) < least or (most is not None and int(text) > most):
        must = f"greater than or equal to {least}" if most is None else f"between {least} (inclusive) and {most} (inclusive)"
        raise invalid(name, f"must be {must}")
    return int(text)


def _ids(lists: Mapping[str, list[str]], name: str) -> frozenset[int]:
    texts = lists.get(name, [])
    if not all(re.fullmatch(r"\d{1,18}", text) for text in texts):
        raise invalid(name, "is not of type integer.")
    return frozenset(map(int, texts))


def _bounds(params: Mapping[str, str], gmt: bool, prefix: str) -> Bounds:
    ends = []
    for name in (f"{prefix}after", f"{prefix}before"):
        text = params.get(name, "")
        read = _DATE.fullmatch(text)
        if text and read is None:
            raise invalid(name, "is not a valid date.")
        try:
            ends.append(datetime.fromisoformat(read[1]).isoformat() if read else None)
        except ValueError:
            raise invalid(name, "is not a valid date.") from None
    return Bounds(gmt, *ends)


def _only(record: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Fields by name, and by path ("billing.email")."""
    kept: dict[str, Any] = {}
    for name, value in record.items():
        if name in fields:
            kept[name] = value
        elif isinstance(value, dict):
            inner = [path.partition(".")[2] for path in fields if path.startswith(f"{name}.")]
            if inner:
                kept[name] = _only(value, inner)
    return kept


def page_headers(request: Request, listing: Listing, total: int) -> dict[str, str]:
    """X-WP-Total, X-WP-TotalPages and Link. (WordPress repeats the keys of the query in its links; this does not.)"""
    pages = -(-total // listing.per_page)
    address = request.url.replace(query="")
    query = [(name, value) for name, value in request.query_params.multi_items()
             if name not in _SECRET and name != "page" and not name.startswith("oauth_")]  # fmt: skip

    def link(page: int, rel: str) -> str:
        return f'<{address}?{urlencode([*query, ("page", str(page))])}>; rel="{rel}"'

    links = [link(min(listing.page - 1, pages), "prev")] if listing.page > 1 and pages else []
    links += [link(listing.page + 1, "next")] if listing.page < pages else []
    headers = {"X-WP-Total": str(total), "X-WP-TotalPages": str(pages)}
    return {**headers, "Link": ", ".join(links)} if links else headers


def in_order(listing: Listing, found: list[Any], by: Mapping[str, Callable[[Any], Any]]) -> list[Any]:
    """Sorted as the list asks for."""
    return sorted(found, key=by[listing.orderby], reverse=listing.descending)
