"""Orders and refunds of a WooCommerce store as its REST API lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NoReturn

from starlette.requests import Request

from analytics_assets.sandbox.shop_records import Record, order_record, refund_record
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import STATE_DAYS, Entry, born_within, find, history, local_date
from analytics_assets.sandbox.woocommerce_access import Refused
from analytics_assets.sandbox.woocommerce_query import Bounds, Listing, in_order, invalid, page_headers, read_listing
from analytics_assets.sandbox.world import SandboxOrganization

STATUSES = {
    "pending": "Pending payment", "processing": "Processing", "on-hold": "On hold", "completed": "Completed",
    "cancelled": "Cancelled", "refunded": "Refunded", "failed": "Failed", "checkout-draft": "Draft",
}  # fmt: skip
_ORDERBY = ("date", "id", "include", "title", "slug", "modified")
#: Encoded orders, so that a page read again costs little; a record is some 3 kB.
_ENCODED = 8192

Answer = tuple[Any, Mapping[str, str]]


def is_older(one: SandboxOrganization) -> bool:
    """The store runs a version without /refunds."""
    return one.number % 7 == 6


@dataclass
class Stores:
    """Edits that the fault "shifting" has made: order id -> when, by organisation. They change nothing but the time."""

    touched: dict[str, dict[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request to a store.

    Attributes:
        now: the sandbox's time, seconds since 1970 UTC.
        params, lists: the query, see ``read_params``.
    """

    request: Request
    sandbox: Sandbox
    stores: Stores
    one: SandboxOrganization
    now: int
    params: Mapping[str, str]
    lists: Mapping[str, list[str]]

    @property
    def shop(self) -> Shop:
        return self.one.store

    @property
    def touched(self) -> Mapping[int, int]:
        return self.stores.touched.get(self.one.slug, {})

    def listing(self, orders: tuple[str, ...], default: str = "date", ascending: bool = False) -> Listing:
        return read_listing(self.params, self.lists, orders, default, ascending)


@dataclass(frozen=True, slots=True)
class Found:
    """An order in its state: which of its phases, and when it was last modified."""

    entry: Entry
    phase: int
    modified: int

    @property
    def status(self) -> str:
        return self.entry.statuses[self.phase]


def encode(body: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def no_route(call: Call) -> NoReturn:
    """What WordPress says to a path that it does not know."""
    raise Refused(404, "rest_no_route", "No route was found matching the URL and request method.")


# --- Orders ------------------------------------------------------------------------------------------------


def span(call: Call, *bounds: tuple[Bounds, int]) -> Iterator[Entry]:
    """Orders that may meet the bounds: of the days of birth within them, each reaching so many days further back."""
    first, last, since = call.sandbox.world.first_day, local_date(call.shop, call.now), None
    for bound, back in bounds:
        low, high = bound.widest()
        if low is not None:
            first = max(first, local_date(call.shop, low - back * 86400))
            since = local_date(call.shop, low) if back else since
        if high is not None:
            last = min(last, local_date(call.shop, high))
    return born_within("woocommerce", call.shop, first, last, since)


def state(call: Call, entry: Entry) -> Found | None:
    """The order as it is now; None where it cannot be seen."""
    phase = entry.phase(call.now)
    if phase < 0:
        return None
    return Found(entry, phase, max(entry.moments[phase], call.touched.get(entry.id, 0)))


def _wanted_statuses(call: Call) -> frozenset[str]:
    """Empty: any but trash."""
    asked = [status.removeprefix("wc-") for status in call.lists.get("status", ["any"])]
    known = ("any", "trash", *STATUSES)
    if not asked or any(status not in known for status in asked):
        raise invalid("status", f"is not one of {', '.join(known)}.")
    return frozenset() if asked == ["any"] else frozenset(asked) if "any" not in asked else frozenset({*asked, *STATUSES})


def _matching(call: Call, listing: Listing, statuses: frozenset[str], customer: int | None) -> list[Found]:
    """By id."""
    first_day, touched = call.sandbox.world.first_day, call.touched
    if listing.include:
        by_id = (find("woocommerce", call.shop, first_day, one) for one in sorted(listing.include))
        candidates = [entry for entry in by_id if entry is not None]
    else:
        # One day more than an order's states last: the bounds may be by the store's clock.
        candidates = list(span(call, (listing.created, 0), (listing.modified, STATE_DAYS)))
        edited = (find("woocommerce", call.shop, first_day, one) for one in touched)
        candidates += [entry for entry in edited if entry is not None]
    found = {}
    for entry in candidates:
        one = state(call, entry)
        if one is None or entry.id in listing.exclude or (customer is not None and entry.customer_id != customer):
            continue
        if one.status not in statuses if statuses else one.status == "trash":
            continue
        if listing.created and not listing.created.hold(call.shop, entry.created):
            continue
        if listing.modified and not listing.modified.hold(call.shop, one.modified):
            continue
        found[entry.id] = one
    return [found[order_id] for order_id in sorted(found)]


def _shift(call: Call, listing: Listing, found: list[Found]) -> bool:
    """Between two pages somebody edits the first order of a window of modifications: it leaves the window."""
    outside = not listing.modified.hold(call.shop, call.now)
    if listing.page < 2 or not found or not listing.modified or not outside:
        return False
    if call.sandbox.faults.strike("woocommerce", call.one.slug, ("shifting",)) is None:
        return False
    call.stores.touched.setdefault(call.one.slug, {})[found[0].entry.id] = call.now
    return True


def list_orders(call: Call) -> Answer:
    """GET /orders."""
    listing = call.listing(tuple(name for name in _ORDERBY if name != "modified") if is_older(call.one) else _ORDERBY)
    statuses, customer = _wanted_statuses(call), call.params.get("customer")
    if customer is not None and not customer.isdigit():
        raise invalid("customer", "is not of type integer.")
    owner = None if customer is None else int(customer)
    found = _matching(call, listing, statuses, owner)
    if _shift(call, listing, found):
        found = _matching(call, listing, statuses, owner)
    ordered = in_order(listing, found, {
        **dict.fromkeys(_ORDERBY, lambda one: one.entry.id), "date": lambda one: (one.entry.created, one.entry.id),
        "modified": lambda one: (one.modified, one.entry.id),
    })  # fmt: skip
    page, headers = listing.cut(ordered), page_headers(call.request, listing, len(ordered))
    if listing.fields:
        return [listing.keep(_record(call, one)) for one in page], headers
    return b"[" + b",".join(_encoded(call, one) for one in page) + b"]", headers


def _record(call: Call, one: Found) -> Record:
    whole = history("woocommerce", call.shop, one.entry)
    return order_record(whole.order, replace(whole.phases[one.phase], modified=one.modified))


def _encoded(call: Call, one: Found) -> bytes:
    if one.modified != one.entry.moments[one.phase]:
        return encode(_record(call, one))
    return _encoded_phase(call.shop, one.entry, one.phase)


@lru_cache(maxsize=_ENCODED)
def _encoded_phase(shop: Shop, entry: Entry, phase: int) -> bytes:
    whole = history("woocommerce", shop, entry)
    return encode(order_record(whole.order, whole.phases[phase]))


def _order_of(call: Call) -> Found:
    entry = find("woocommerce", call.shop, call.sandbox.world.first_day, call.request.path_params["id"])
    one = None if entry is None else state(call, entry)
    if one is None:
        raise Refused(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
    return one


def one_order(call: Call) -> Answer:
    """GET /orders/{id}; one in the trash too."""
    return call.listing(_ORDERBY).keep(_record(call, _order_of(call))), {}


# --- Refunds -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Refunded:
    """A refund of an order: its id and when it was made."""

    entry: Entry
    id: int
    at: int


def _refund_list(call: Call, entries: Iterator[Entry], *, parent: bool) -> Answer:
    """A refund is modified when it is made, and never again. Those of an order in the trash are still listed."""
    listing = call.listing(_ORDERBY)
    found = [
        _Refunded(entry, refund_id, at)
        for entry in entries
        if entry.phase(call.now) >= 0
        for refund_id, at in entry.refunds
        if at <= call.now and refund_id not in listing.exclude and (not listing.include or refund_id in listing.include)
        and listing.created.hold(call.shop, at) and listing.modified.hold(call.shop, at)
    ]  # fmt: skip
    by_date = {name: lambda one: (one.at, one.id) for name in ("date", "modified")}
    ordered = in_order(listing, found, {**dict.fromkeys(_ORDERBY, lambda one: one.id), **by_date})
    headers = page_headers(call.request, listing, len(ordered))
    return [listing.keep(_refund_record(call, one, parent)) for one in listing.cut(ordered)], headers


def _refund_record(call: Call, one: _Refunded, parent: bool) -> Record:
    whole = history("woocommerce", call.shop, one.entry)
    version = next(phase for phase in whole.phases if phase.refunds and phase.refunds[-1].id == one.id)
    record = refund_record(whole.order, version)
    return record if parent else {name: value for name, value in record.items() if name != "parent_id"}


def list_refunds(call: Call) -> Answer:
    """GET /refunds, of all orders."""
    if is_older(call.one):
        return no_route(call)
    listing = call.listing(_ORDERBY)
    return _refund_list(call, span(call, (listing.created, STATE_DAYS), (listing.modified, STATE_DAYS)), parent=True)


def list_order_refunds(call: Call) -> Answer:
    """GET /orders/{id}/refunds: without parent_id."""
    return _refund_list(call, iter([_order_of(call).entry]), parent=False)
