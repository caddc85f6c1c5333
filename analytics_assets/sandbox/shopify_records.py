"""Orders of a Shopify shop as its GraphQL Admin API has them, with their ledger: agreements, and the sales of each.

Every agreement is what happened at one moment: the order itself, an edit, a refund, a cancellation (which returns all that
is left). A sale is what it did to one line: total after discounts and with tax, negative for what was returned. The
totals of all sales make the order's current total. An object is a dict by field name, with ``__typename``; a connection
is a ``Many``. Amounts are text in the shop's currency, instants are text in UTC.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

from analytics_assets.sandbox.shop_orders import Basket, Refund, Version
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.store_state import Entry, History, history

Node = dict[str, Any]
_ZERO = Decimal("0.00")
_AGREEMENTS, _SALES = 64, 256
_SOURCES = {"checkout": "web", "store-api": "pos", "admin": "shopify_draft_order"}
_AGREEMENT_TYPES = {"ORDER": "OrderAgreement", "ORDER_EDIT": "OrderEditAgreement", "REFUND": "RefundAgreement"}
_SALE_TYPES = {"PRODUCT": "ProductSale", "SHIPPING": "ShippingLineSale", "FEE": "FeeSale"}


@dataclass(frozen=True)
class Many:
    """A connection: its nodes in their order. A cursor names a node."""

    nodes: Sequence[Node]


def cursor(value: object, identifier: int) -> str:
    """Opaque to clients: the value that a list is sorted by, and the id."""
    return base64.urlsafe_b64encode(json.dumps([value, identifier]).encode()).decode()


def read_cursor(text: str) -> tuple[Any, int]:
    """Raises ValueError."""
    try:
        value, identifier = json.loads(base64.urlsafe_b64decode(text.encode()))
        return value, int(identifier)
    except (ValueError, TypeError) as error:
        raise ValueError("Invalid cursor for current pagination sort.") from error


def instant(at: int | None) -> str | None:
    """2026-11-20T10:15:30Z."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def gid(kind: str, identifier: int) -> str:
    """A global id."""
    return f"gid://shopify/{kind}/{identifier}"


def amount(value: Decimal) -> str:
    """As Shopify writes it: one decimal at least ("10.0", "12.35"), and never a negative nothing."""
    text = f"{value + 0:.2f}"
    return text[:-1] if text.endswith("0") else text


def money(currency: str, value: Decimal) -> Node:
    """A MoneyBag; the customer paid in the shop's currency."""
    one = {"__typename": "MoneyV2", "amount": amount(value), "currencyCode": currency}
    return {"__typename": "MoneyBag", "shopMoney": one, "presentmentMoney": one}


# --- The ledger --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sale:
    """What an agreement did to one line: its action, quantity and money; ``line`` is the place of a product's line."""

    action: str
    line_type: str
    line: int
    quantity: int
    total: Decimal
    tax: Decimal
    discount: Decimal


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed at one moment."""

    reason: str
    at: int
    sales: tuple[Sale, ...]


def ledger(phases: Sequence[Version]) -> Iterator[Agreement]:
    """The agreements of an order that has come through these states."""
    yield Agreement("ORDER", phases[0].modified, tuple(_ordered(phases[0].basket)))
    for was, phase in pairwise(phases):
        if phase.basket != was.basket:
            yield Agreement("ORDER_EDIT", phase.modified, tuple(_edited(was.basket, phase.basket)))
        for refund in phase.refunds[len(was.refunds) :]:
            yield Agreement("REFUND", refund.at, tuple(_returned(phase.basket, refund)))
        if phase.status == "cancelled" and was.status != "cancelled":
            yield Agreement("REFUND", phase.modified, tuple(_rest(phase)))


def _ordered(basket: Basket) -> Iterator[Sale]:
    for n, line in enumerate(basket.lines):
        yield Sale("ORDER", "PRODUCT", n, line.quantity, line.total + line.total_tax, line.total_tax, line.subtotal - line.total)
    if basket.shipping:
        yield Sale("ORDER", "SHIPPING", -1, 1, basket.shipping + basket.shipping_tax, basket.shipping_tax, _ZERO)
    if basket.fee:
        yield Sale("ORDER", "FEE", -1, 1, basket.fee + basket.fee_tax, basket.fee_tax, _ZERO)


def _edited(was: Basket, now: Basket) -> Iterator[Sale]:
    """Of a line whose quantity stays, what it has become dearer or cheaper since the discount is spread anew."""
    before = {sale.line: sale for sale in _ordered(was) if sale.line_type == "PRODUCT"}
    for sale in _ordered(now):
        if sale.line_type != "PRODUCT":
            continue
        old = before.get(sale.line, Sale("ORDER", "PRODUCT", sale.line, 0, _ZERO, _ZERO, _ZERO))
        change = (sale.quantity - old.quantity, sale.total - old.total, sale.tax - old.tax, sale.discount - old.discount)
        if any(change):
            action = "ORDER" if change[0] > 0 else "RETURN" if change[0] < 0 else "UPDATE"
            yield Sale(action, "PRODUCT", sale.line, *change)


def _returned(basket: Basket, refund: Refund) -> Iterator[Sale]:
    for n, quantity, total, tax in refund.lines:
        before_discount = basket.lines[n].product.price * quantity
        yield Sale("RETURN", "PRODUCT", n, -quantity, -total - tax, -tax, total - before_discount)
    if refund.shipping:
        yield Sale("RETURN", "SHIPPING", -1, -1, -refund.shipping - refund.shipping_tax, -refund.shipping_tax, _ZERO)
    if refund.fee:
        yield Sale("RETURN", "FEE", -1, -1, -refund.fee - refund.fee_tax, -refund.fee_tax, _ZERO)


def _rest(cancelled: Version) -> Iterator[Sale]:
    """What is left of a cancelled order: everything, less what had been refunded."""
    gone = [sale for refund in cancelled.refunds for sale in _returned(cancelled.basket, refund)]
    for sale in _ordered(cancelled.basket):
        back = [one for one in gone if (one.line_type, one.line) == (sale.line_type, sale.line)]
        quantity = sale.quantity + sum(one.quantity for one in back)
        if quantity:
            yield Sale(
                "RETURN", sale.line_type, sale.line, -quantity,
                -sale.total - sum((one.total for one in back), _ZERO), -sale.tax - sum((one.tax for one in back), _ZERO),
                -sale.discount - sum((one.discount for one in back), _ZERO),
            )  # fmt: skip


# --- Objects -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def order_node(shop: Shop, entry: Entry, phase: int) -> Node:
    """An Order in one of its states."""
    return _order(history("shopify", shop, entry), phase)


def _order(whole: History, phase: int) -> Node:
    order, phases = whole.order, whole.phases[: phase + 1]
    now, first, currency = phases[-1], phases[0].basket, order.shop.currency
    basket, cancelled = now.basket, next((one.modified for one in phases if one.status == "cancelled"), None)
    refunds = [(refund.id, refund.at, refund.amount, refund.reason) for refund in now.refunds]
    refunded = sum((one[2] for one in refunds), _ZERO)
    current = _ZERO if cancelled is not None else basket.total - refunded
    if cancelled is not None:
        given_back = basket.total - refunded if now.paid is not None else _ZERO
        refunds.append((order.id, cancelled, given_back, "Cancelled"))
        refunded += given_back
    goods = sum((line.total for line in basket.lines), _ZERO)

    def bag(value: Decimal) -> Node:
        return money(currency, value)

    return {
        "__typename": "Order", "id": gid("Order", order.id), "legacyResourceId": str(order.id), "name": f"#{order.id}",
        "createdAt": instant(order.created), "processedAt": instant(whole.processed), "updatedAt": instant(now.modified),
        "cancelledAt": instant(cancelled), "cancelReason": None if cancelled is None else "CUSTOMER",
        "closedAt": instant(now.completed), "test": whole.is_test, "confirmed": True, "taxesIncluded": False, "email": order.email,
        "currencyCode": currency, "presentmentCurrencyCode": currency, "sourceName": _SOURCES.get(order.via, "web"), "tags": [],
        "displayFinancialStatus": _financial_status(now, cancelled is not None, current),
        "displayFulfillmentStatus": "FULFILLED" if now.completed is not None else "UNFULFILLED",
        "customer": _customer(order.customer_id),
        "currentTotalPriceSet": bag(current), "totalPriceSet": bag(basket.total), "originalTotalPriceSet": bag(first.total),
        "subtotalPriceSet": bag(goods), "totalRefundedSet": bag(refunded), "totalDiscountsSet": bag(basket.discount),
        "totalTaxSet": bag(basket.cart_tax + basket.shipping_tax), "totalShippingPriceSet": bag(basket.shipping),
        "refunds": [
            {"__typename": "Refund", "id": gid("Refund", refund_id), "legacyResourceId": str(refund_id), "createdAt": instant(at),
             "note": note, "totalRefundedSet": bag(given)}
            for refund_id, at, given, note in refunds
        ],
        "lineItems": Many([_line_item(order.id, n, basket, currency) for n in range(len(basket.lines))]),
        "agreements": Many(_agreements(order.id, phases, currency)),
    }  # fmt: skip


def _financial_status(now: Version, is_cancelled: bool, current: Decimal) -> str:
    if now.paid is None:
        return "VOIDED" if is_cancelled else "PENDING"
    if is_cancelled or not current:
        return "REFUNDED"
    return "PARTIALLY_REFUNDED" if now.refunds else "PAID"


def _customer(customer_id: int) -> Node | None:
    """None: a guest."""
    if not customer_id:
        return None
    return {"__typename": "Customer", "id": gid("Customer", customer_id), "legacyResourceId": str(customer_id)}


def _line_item(order_id: int, n: int, basket: Basket, currency: str) -> Node:
    line, identifier = basket.lines[n], order_id * _SALES + n
    return {
        "__typename": "LineItem", "id": gid("LineItem", identifier), "title": line.product.name, "name": line.product.name,
        "sku": line.product.sku, "quantity": line.quantity, "originalUnitPriceSet": money(currency, line.product.price),
        "originalTotalSet": money(currency, line.subtotal), "discountedTotalSet": money(currency, line.total),
    }  # fmt: skip


def _agreements(order_id: int, phases: Sequence[Version], currency: str) -> list[Node]:
    nodes = []
    for n, agreement in enumerate(ledger(phases)):
        identifier = order_id * _AGREEMENTS + n
        sales = [
            _sale(order_id, identifier * _SALES + k, sale, phases[-1].basket, currency) for k, sale in enumerate(agreement.sales)
        ]
        nodes.append({
            "__typename": _AGREEMENT_TYPES[agreement.reason], "id": gid("SalesAgreement", identifier),
            "happenedAt": instant(agreement.at), "reason": agreement.reason, "sales": Many(sales),
        })  # fmt: skip
    return nodes


def _sale(order_id: int, identifier: int, sale: Sale, basket: Basket, currency: str) -> Node:
    node: Node = {
        "__typename": _SALE_TYPES[sale.line_type], "id": gid("Sale", identifier), "actionType": sale.action,
        "lineType": sale.line_type, "quantity": sale.quantity, "totalAmount": money(currency, sale.total),
        "totalTaxAmount": money(currency, sale.tax), "totalDiscountAmountBeforeTaxes": money(currency, sale.discount),
        "totalDiscountAmountAfterTaxes": money(currency, sale.discount),
    }  # fmt: skip
    return node if sale.line < 0 else {**node, "lineItem": _line_item(order_id, sale.line, basket, currency)}


def node_number(node: Mapping[str, Any]) -> int:
    """The number at the end of a global id."""
    return int(str(node["id"]).rpartition("/")[2])
