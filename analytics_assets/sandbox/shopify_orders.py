"""The orders of a Shopify shop: those of the sample shops, some of them with what Shopify's ledger makes hard to read.

A few are wholesale (more product lines than a page of sales holds), a few are edited again and again (more agreements
than a page of agreements holds). Pure functions of (shop, local day), like the orders that they begin with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from analytics_assets.sandbox.shop_orders import Basket, Order, Version, fill, orders_born
from analytics_assets.sandbox.shop_world import Dice, Product, Shop, catalogue, dice

WHOLESALE_LINES = 52
_WHOLESALE, _EDITED, _MANY_LINES = 0.006, 0.03, 20


def shopify_born(shop: Shop, day: date) -> tuple[Order, ...]:
    """The orders placed on a local day; ids, times and people are those of ``orders_born``."""
    roll = dice(shop, day, "shopify")
    return tuple(_remade(roll, order) for order in orders_born(shop, day))


def _remade(roll: Dice, order: Order) -> Order:
    fate, first = roll.random(), order.versions[0]
    if len(order.versions) > 1 or first.paid is None or fate >= _WHOLESALE + _EDITED:
        return order
    if fate < _WHOLESALE:
        return replace(order, versions=(replace(first, basket=_wholesale(roll, order.shop)),))
    return replace(order, versions=(first, *_edits(roll, order.shop, first)))


def _wholesale(roll: Dice, shop: Shop) -> Basket:
    products = catalogue(shop)
    lines = WHOLESALE_LINES + roll.below(18)
    return fill(shop, [(products[n % len(products)], 2 + roll.below(9)) for n in range(lines)], None, Decimal("0.00"))


def _edits(roll: Dice, shop: Shop, first: Version) -> Iterator[Version]:
    """Two to six edits, in one case of four some twenty-five, minutes or an hour apart."""
    products, zone = catalogue(shop), ZoneInfo(shop.time_zone)
    was = first
    for _ in range(21 + roll.below(8) if roll.chance(0.25) else 2 + roll.below(5)):
        wanted = _edited(roll, products, [(line.product, line.quantity) for line in was.basket.lines])
        basket = fill(shop, wanted, was.basket.coupon, was.basket.shipping, was.basket.fee)
        at = was.modified + 120 + roll.below(3480)
        was = replace(was, day=datetime.fromtimestamp(at, zone).date(), modified=at, basket=basket)
        yield was


def _edited(roll: Dice, products: tuple[Product, ...], wanted: list[tuple[Product, int]]) -> list[tuple[Product, int]]:
    """One unit more or less of a line, or a new line at the end: lines keep their places and never vanish."""
    change, index = roll.weighted((5, 3, 2)), roll.below(len(wanted))
    product, quantity = wanted[index]
    if change == 2 and len(wanted) < _MANY_LINES:
        return [*wanted, (roll.pick(products), 1)]
    less = change == 1 and quantity > 1
    return [*wanted[:index], (product, quantity - 1 if less else quantity + 1), *wanted[index + 1 :]]
