"""What a WooCommerce store or a Shopify shop holds at a moment: each order in its newest state until then.

Everything is a pure function of (vendor, shop, local day of birth): an order lives through its states on at most
STATE_DAYS days after that of its birth, and is never looked for on others. Instants are whole seconds since 1970 UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from analytics_assets.sandbox.shop_orders import LOOK_BACK, Order, Version, orders_born
from analytics_assets.sandbox.shop_world import EPOCH, Dice, Shop, cap, day_bounds, dice, head_counts, moment
from analytics_assets.sandbox.shopify_orders import shopify_born

Vendor = Literal["woocommerce", "shopify"]
STATE_DAYS = LOOK_BACK + 3
_TRASHED, _DELETED, _TEST, _TEST_DELETED, _IMPORTED = 0.010, 0.006, 0.015, 0.3, 0.02


@dataclass(frozen=True, slots=True)
class History:
    """An order through its states.

    Attributes:
        phases: its states, oldest first, from the second of its creation on; each holds until the next one.
        removed: when it was deleted for good: from then on it was never there.
        processed, is_test: Shopify's. An imported order was processed some hours before it was created.
    """

    order: Order
    phases: tuple[Version, ...]
    removed: int | None
    processed: int
    is_test: bool = False

    def at(self, now: int) -> Version | None:
        """Its state; None before its creation and after its deletion."""
        if self.removed is not None and self.removed <= now:
            return None
        index = bisect_right(self.phases, now, key=lambda phase: phase.modified) - 1
        return None if index < 0 else self.phases[index]


class Entry(NamedTuple):
    """What is looked for by, of one order: small, so that many days of many shops are kept at once."""

    id: int
    day: date
    place: int
    created: int
    processed: int
    customer_id: int
    joins: bool
    moments: tuple[int, ...]
    statuses: tuple[str, ...]
    refunds: tuple[tuple[int, int], ...]
    removed: int | None
    is_test: bool

    def phase(self, now: int) -> int:
        """The place of its state among its phases; -1 where it has none."""
        if self.removed is not None and self.removed <= now:
            return -1
        return bisect_right(self.moments, now) - 1


@lru_cache(maxsize=512)
def born(vendor: Vendor, shop: Shop, day: date) -> tuple[History, ...]:
    """The orders placed on a local day, by id, with all that will befall them."""
    roll = dice(shop, day, vendor, "fate")
    if vendor == "shopify":
        return tuple(_shopify(roll, order, day) for order in shopify_born(shop, day))
    return tuple(_woocommerce(roll, order) for order in orders_born(shop, day))


@lru_cache(maxsize=8192)
def entries(vendor: Vendor, shop: Shop, day: date) -> tuple[Entry, ...]:
    """The same orders, as far as one looks for them."""
    return tuple(
        Entry(
            one.order.id, day, place, one.order.created, one.processed, one.order.customer_id, one.order.joins,
            tuple(phase.modified for phase in one.phases), tuple(phase.status for phase in one.phases),
            tuple((refund.id, refund.at) for refund in one.order.versions[-1].refunds), one.removed, one.is_test,
        )
        for place, one in enumerate(born(vendor, shop, day))
    )  # fmt: skip


@lru_cache(maxsize=65536)
def late_entries(vendor: Vendor, shop: Shop, day: date) -> tuple[Entry, ...]:
    """Those of them that change on a later day too: one in ten. Whoever asks for the changes of some minutes looks for them on
    two weeks of births, of a thousand shops; whole days of all of them would not be kept."""
    end = day_bounds(shop.time_zone, day)[1]
    return tuple(entry for entry in entries(vendor, shop, day) if entry.moments[-1] >= end)


def _phases(order: Order) -> tuple[Version, ...]:
    """An order is placed, paid, and then what its first version says; versions of later days follow."""
    first = order.versions[0]
    # An order of the day's last second changes a second later, not at once.
    first = replace(first, modified=max(first.modified, order.created + 1))
    phases = [replace(first, modified=order.created, status="pending", paid=None, completed=None)]
    if first.completed is not None and first.paid is not None and order.created < first.paid < first.modified:
        phases.append(replace(first, modified=first.paid, status="processing", completed=None))
    return (*phases, first, *order.versions[1:])


def _end(roll: Dice, order: Order) -> tuple[float, int]:
    """What becomes of it in the end, as a number in 0..1, and when: 1 to 3 days after its last version."""
    fate, after = roll.random(), 1 + roll.below(3)
    return fate, moment(roll, order.shop, order.versions[-1].day + timedelta(days=after))


def _woocommerce(roll: Dice, order: Order) -> History:
    fate, at = _end(roll, order)
    phases = _phases(order)
    if fate < _TRASHED:
        trashed = replace(phases[-1], modified=at, status="trash")
        return History(order, (*phases, trashed), None, order.created)
    # A guest with the e-mail address of a customer who registered before the shop opened is known from that customer's orders
    # alone: these stay, or what is true would depend on who looked before the deletion.
    known = order.joins or not order.customer_id
    return History(order, phases, at if fate < _TRASHED + _DELETED and known else None, order.created)


def _shopify(roll: Dice, order: Order, day: date) -> History:
    """Shopify lets only test orders (and cancelled ones) be deleted, and so they are."""
    fate, at = _end(roll, order)
    is_test = roll.chance(_TEST)
    back = roll.below(6 * 3600) if roll.chance(_IMPORTED) else 0
    processed = max(order.created - back, day_bounds(order.shop.time_zone, day)[0])
    return History(order, _phases(order), at if is_test and fate < _TEST_DELETED else None, processed, is_test)


# --- Finding -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _zone(shop: Shop) -> ZoneInfo:
    return ZoneInfo(shop.time_zone)


def local_date(shop: Shop, at: int) -> date:
    """The shop's local day of an instant."""
    return datetime.fromtimestamp(at, _zone(shop)).date()


def days(first: date, last: date) -> Iterator[date]:
    """Both included; none where the last one is before the first."""
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def born_within(vendor: Vendor, shop: Shop, first: date, last: date, since: date | None = None) -> Iterator[Entry]:
    """Orders placed on these local days, by id, whether they can be seen or not; of days before ``since`` only those that
    change after their day."""
    for day in days(first, last):
        yield from (entries if since is None or day >= since else late_entries)(vendor, shop, day)


def history(vendor: Vendor, shop: Shop, entry: Entry) -> History:
    """The whole of an entry."""
    return born(vendor, shop, entry.day)[entry.place]


def find(vendor: Vendor, shop: Shop, first_day: date, order_id: int) -> Entry | None:
    """The order with an id, of those placed from the first day on."""
    number, rest = divmod(order_id - 1, cap(shop) * (LOOK_BACK + 2))
    if order_id < 1 or number < (first_day - EPOCH).days or number > 100_000:
        return None
    found = entries(vendor, shop, EPOCH + timedelta(days=number))
    return found[rest] if rest < len(found) else None


# --- Customers ---------------------------------------------------------------------------------------------


def registered(vendor: Vendor, shop: Shop, day: date, now: int) -> list[Entry]:
    """The orders with which customers registered on a local day until now, by customer id. A customer stays when the order goes."""
    return [one for one in entries(vendor, shop, day) if one.joins and one.created <= now]


def registrations(vendor: Vendor, shop: Shop, day: date, now: int) -> int:
    """Their number; of a day that is over without making its orders."""
    if day_bounds(shop.time_zone, day)[1] <= now:
        return head_counts(shop, day)[1]
    return len(registered(vendor, shop, day, now))


def registration_day(shop: Shop, customer_id: int) -> date:
    """The local day on which a customer registered."""
    return EPOCH + timedelta(days=min((customer_id - 1) // cap(shop), 100_000))
