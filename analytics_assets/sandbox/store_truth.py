"""What the aggregates of a store must be, from the world's orders themselves and not from the pages that are served.

Grain of the hourly truth: metric x local hour of the store (the UTC instant at which it begins), of the daily truth metric
x day of the organisation's time zone. Values in the store's currency. A metric has a row where something of its kind
happened, as in the view hourly_source; a missing row is no 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from analytics_assets.sandbox.shop_orders import Basket, Refund, Version
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.store_state import History, Vendor, born, days, local_date
from analytics_assets.sandbox.world import SandboxOrganization, World

Hourly = dict[tuple[str, datetime], Decimal]
Daily = dict[tuple[str, date], Decimal]
_ZERO = Decimal("0.00")
_NOT_COUNTED = ("pending", "failed", "cancelled", "auto-draft", "draft", "checkout-draft", "trash")


@lru_cache(maxsize=65536)
def _hour(time_zone: str, minute: int) -> int:
    zone, at = ZoneInfo(time_zone), datetime.fromtimestamp(minute * 60, UTC)
    local = at.astimezone(zone)
    start = at - timedelta(minutes=local.minute)
    # Where the clock changes within the hour, what follows the change is an hour of its own.
    while start.astimezone(zone).utcoffset() != local.utcoffset():
        start += timedelta(minutes=1)
    return int(start.timestamp())


def local_hour(shop: Shop, at: int) -> int:
    """The second at which the shop's local hour of an instant begins: of the repeated hour of autumn there are two."""
    return _hour(shop.time_zone, at // 60)


@dataclass
class _Hour:
    """What happened within an hour; which of it did decides which metrics have a row."""

    orders: int = 0
    sold: int = 0
    refunds: int = 0
    cancelled: int = 0
    customers_new: int = 0
    items: int = 0
    gross: Decimal = _ZERO
    discounts: Decimal = _ZERO
    shipping: Decimal = _ZERO
    taxes: Decimal = _ZERO
    refunded: Decimal = _ZERO
    returned: Decimal = _ZERO

    def rows(self) -> Iterator[tuple[str, Decimal]]:
        net = self.gross - self.discounts - self.returned
        if self.orders:
            yield "orders", Decimal(self.orders)
            yield "customers_new", Decimal(self.customers_new)
        if self.sold:
            yield "items_sold", Decimal(self.items)
            yield "gross_sales", self.gross
            yield "discounts", self.discounts
        if self.refunds:
            yield "refunds_amount", self.refunded
            yield "refunds_count", Decimal(self.refunds)
        if self.sold or self.refunds:
            yield "shipping_revenue", self.shipping
            yield "taxes", self.taxes
            yield "net_sales", net
            yield "total_sales", net + self.shipping + self.taxes
        if self.cancelled:
            yield "cancelled_orders", Decimal(self.cancelled)


@dataclass
class _Ledger:
    """A store's hours, and who ordered when: (hour, customer or None) of each order that counts."""

    shop: Shop
    hours: dict[int, _Hour] = field(default_factory=lambda: defaultdict(_Hour))
    orders: list[tuple[int, str | None]] = field(default_factory=list)

    def at(self, instant: int) -> _Hour:
        return self.hours[local_hour(self.shop, instant)]

    def placed(self, instant: int, customer: str | None) -> None:
        self.at(instant).orders += 1
        self.orders.append((local_hour(self.shop, instant), customer))

    def first_orders(self) -> dict[str, int]:
        """The hour of each customer's first order."""
        firsts: dict[str, int] = {}
        for hour, customer in self.orders:
            if customer is not None:
                firsts[customer] = min(hour, firsts.get(customer, hour))
        return firsts

    def hourly(self) -> Hourly:
        for hour in self.first_orders().values():
            self.hours[hour].customers_new += 1
        return {
            (metric, datetime.fromtimestamp(hour, UTC)): value for hour, one in self.hours.items() for metric, value in one.rows()
        }

    def daily(self, time_zone: str) -> Daily:
        zone, firsts = ZoneInfo(time_zone), self.first_orders()
        people: dict[date, set[str]] = defaultdict(set)
        for hour, customer in self.orders:
            today = people[datetime.fromtimestamp(hour, zone).date()]
            if customer is not None:
                today.add(customer)
        rows: Daily = {}
        for day, customers in people.items():
            before = sum(datetime.fromtimestamp(firsts[one], zone).date() < day for one in customers)
            rows["customers_ordering", day], rows["customers_returning", day] = Decimal(len(customers)), Decimal(before)
        return rows


def _histories(vendor: Vendor, world: World, shop: Shop, now: int) -> Iterator[History]:
    for day in days(world.first_day, local_date(shop, now)):
        yield from born(vendor, shop, day)


# --- WooCommerce -------------------------------------------------------------------------------------------


def _charge(hour: _Hour, basket: Basket) -> None:
    hour.sold += 1
    hour.items += sum(line.quantity for line in basket.lines)
    hour.gross += sum((line.subtotal for line in basket.lines), basket.fee)
    hour.discounts += basket.discount
    hour.shipping += basket.shipping
    hour.taxes += basket.cart_tax + basket.shipping_tax


def _give_back(hour: _Hour, refund: Refund) -> None:
    hour.refunds += 1
    hour.refunded += refund.amount
    hour.returned += sum((total for _, _, total, _ in refund.lines), refund.fee)
    hour.shipping -= refund.shipping
    hour.taxes -= sum((tax for _, _, _, tax in refund.lines), refund.shipping_tax + refund.fee_tax)


def _woocommerce(world: World, one: SandboxOrganization, now: datetime) -> _Ledger:
    """An order counts, by its status now, when it was paid (placed, while it is not); refunds count while it does.

    Guests with the e-mail address of a registered customer (of an order of theirs, or their own record) are that customer.
    """
    at, ledger = int(now.timestamp()), _Ledger(one.store)
    histories = list(_histories("woocommerce", world, one.store, at))
    owners: dict[str, int] = {}
    for history in histories:
        order = history.order
        if order.customer_id and (history.at(at) is not None or (order.joins and order.created <= at)):
            email = order.email.strip().lower()
            owners[email] = min(order.customer_id, owners.get(email, order.customer_id))
    for history in histories:
        version, email = history.at(at), history.order.email.strip().lower()
        if version is None or version.status in _NOT_COUNTED:
            continue
        owner = history.order.customer_id or owners.get(email, 0)
        counts_at = version.paid or history.order.created
        ledger.placed(counts_at, f"id:{owner}" if owner else f"email:{email}")
        _charge(ledger.at(counts_at), version.basket)
        for refund in version.refunds:
            _give_back(ledger.at(refund.at), refund)
    return ledger


def hourly_truth_woocommerce(world: World, one: SandboxOrganization, now: datetime) -> Hourly:
    """Metrics of the WooCommerce store by local hour."""
    return _woocommerce(world, one, now).hourly()


def daily_truth_woocommerce(world: World, one: SandboxOrganization, now: datetime) -> Daily:
    """customers_ordering and customers_returning by the organisation's local date."""
    return _woocommerce(world, one, now).daily(one.time_zone)


# --- Shopify -----------------------------------------------------------------------------------------------


def _edit(hour: _Hour, was: Basket, now: Basket) -> None:
    """A line with fewer units is a return; any other change counts as sold, one of the discount alone too."""
    is_return = False
    for n, line in enumerate(now.lines):
        old = was.lines[n] if n < len(was.lines) else None
        units = line.quantity - (old.quantity if old else 0)
        total, tax = line.total - (old.total if old else _ZERO), line.total_tax - (old.total_tax if old else _ZERO)
        gross = line.subtotal - (old.subtotal if old else _ZERO)
        hour.taxes += tax
        if units < 0:
            is_return = True
            hour.refunded -= total + tax
            hour.returned -= total
        elif units or total or tax or gross:
            hour.sold += 1
            hour.items += units
            hour.gross += gross
            hour.discounts += gross - total
    hour.refunds += is_return


def _cancel(hour: _Hour, version: Version) -> None:
    """Everything that is left is returned."""
    basket, refunds = version.basket, version.refunds
    goods = sum((line.total for line in basket.lines), basket.fee)
    goods -= sum((total for refund in refunds for _, _, total, _ in refund.lines), _ZERO) + sum(
        (one.fee for one in refunds), _ZERO
    )
    shipping = basket.shipping - sum((refund.shipping for refund in refunds), _ZERO)
    total = basket.total - sum((refund.amount for refund in refunds), _ZERO)
    hour.cancelled += 1
    hour.refunds += 1
    hour.refunded += total
    hour.returned += goods
    hour.shipping -= shipping
    hour.taxes -= total - goods - shipping


def _sell(ledger: _Ledger, phases: Sequence[Version]) -> None:
    _charge(ledger.at(phases[0].modified), phases[0].basket)
    for was, version in pairwise(phases):
        if version.basket != was.basket:
            _edit(ledger.at(version.modified), was.basket, version.basket)
        for refund in version.refunds[len(was.refunds) :]:
            _give_back(ledger.at(refund.at), refund)
        if version.status == "cancelled" != was.status:
            _cancel(ledger.at(version.modified), version)


def _shopify(world: World, one: SandboxOrganization, now: datetime) -> _Ledger:
    """An order counts when it was processed, whatever has become of it, unless it is a test; money when it was agreed."""
    at, ledger = int(now.timestamp()), _Ledger(one.shop)
    for history in _histories("shopify", world, one.shop, at):
        if history.is_test or history.at(at) is None:
            continue
        customer = history.order.customer_id
        ledger.placed(history.processed, f"id:{customer}" if customer else None)
        _sell(ledger, [phase for phase in history.phases if phase.modified <= at])
    return ledger


def hourly_truth_shopify(world: World, one: SandboxOrganization, now: datetime) -> Hourly:
    """Metrics of the Shopify shop by local hour."""
    return _shopify(world, one, now).hourly()


def daily_truth_shopify(world: World, one: SandboxOrganization, now: datetime) -> Daily:
    """customers_ordering and customers_returning by the organisation's local date."""
    return _shopify(world, one, now).daily(one.time_zone)
