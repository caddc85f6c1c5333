"""Orders, refunds and customers of a sample shop as WooCommerce REST v3 writes them.

One record is one element of a list response. Money is a string with two decimals in the shop's currency, unit
prices are JSON numbers. An instant is written twice: by the store's clock, and in UTC (`*_gmt`).
"""

from decimal import Decimal
from typing import Any

from analytics_assets.sandbox.shop_orders import Basket, Line, Order, Refund, Version
from analytics_assets.sandbox.shop_world import Person, Shop, gmt_text, local_text, place

Record = dict[str, Any]
_RATE_ID = 1


def text(amount: Decimal) -> str:
    """Money as WooCommerce writes it: "12.30"; a negated nothing is "0.00" too."""
    return f"{amount + 0:.2f}"


def number(amount: Decimal, by: int) -> int | float:
    """A unit price as WooCommerce writes it: a JSON number, not rounded."""
    price = float(amount) / by
    return int(price) if price.is_integer() else price


def times(shop: Shop, name: str, at: int | None) -> Record:
    """An instant twice: by the store's clock, and in UTC."""
    return {name: local_text(shop, at), f"{name}_gmt": gmt_text(at)}


def address(shop: Shop, who: Person) -> Record:
    """A shipping address; a billing address adds email and phone."""
    city, state, postcode = who.city
    return {
        "first_name": who.first_name, "last_name": who.last_name, "company": "", "address_1": who.street,
        "address_2": "", "city": city, "state": state, "postcode": postcode, "country": place(shop).country,
    }  # fmt: skip


def links(shop: Shop, *path: object) -> Record:
    """The _links of a record: itself and its collection."""
    self_path = "/".join(str(part) for part in path)
    base = f"https://{shop.slug}.example.com/wp-json/wc/v3"
    return {"self": [{"href": f"{base}/{self_path}"}], "collection": [{"href": f"{base}/{path[0]}"}]}


def _taxes(shop: Shop, total: Decimal, subtotal: Decimal | None = None) -> list[Record]:
    if not shop.tax_rate:
        return []
    taxed = {"id": _RATE_ID, "total": text(total)}
    return [taxed if subtotal is None else {**taxed, "subtotal": text(subtotal)}]


def _item(shop: Shop, item_id: int, line: Line, price: int | float, meta: list[Record]) -> Record:
    return {
        "id": item_id, "name": line.product.name, "product_id": line.product.id, "variation_id": 0,
        "quantity": line.quantity, "tax_class": "", "subtotal": text(line.subtotal),
        "subtotal_tax": text(line.subtotal_tax), "total": text(line.total), "total_tax": text(line.total_tax),
        "taxes": _taxes(shop, line.total_tax, line.subtotal_tax), "meta_data": meta,
        "sku": line.product.sku, "price": price,
    }  # fmt: skip


def _extra_lines(shop: Shop, owner: int, of: Basket | Refund, sign: int, is_free: bool) -> Record:
    """Shipping, fee and tax lines of an order, or (sign -1) a refund; `is_free`: free shipping is a line."""
    shipping, fee = [], []
    if of.shipping or is_free:
        method = ("Flat rate", "flat_rate") if of.shipping else ("Free shipping", "free_shipping")
        shipping.append({
            "id": owner * 16 + 5, "method_title": method[0], "method_id": method[1], "instance_id": "1",
            "total": text(sign * of.shipping), "total_tax": text(sign * of.shipping_tax),
            "taxes": _taxes(shop, sign * of.shipping_tax) if of.shipping else [], "meta_data": [],
        })  # fmt: skip
    if of.fee:
        fee.append({
            "id": owner * 16 + 7, "name": "Gift wrap", "tax_class": "", "tax_status": "taxable",
            "amount": text(sign * of.fee), "total": text(sign * of.fee), "total_tax": text(sign * of.fee_tax),
            "taxes": _taxes(shop, sign * of.fee_tax), "meta_data": [],
        })  # fmt: skip
    cart_tax = of.cart_tax if isinstance(of, Basket) else sum((line[3] for line in of.lines), of.fee_tax)
    home = place(shop)
    tax = {
        "id": owner * 16 + 6, "rate_code": f"{home.country}-TAX-1", "rate_id": _RATE_ID,
        "label": home.tax_label, "compound": False, "tax_total": text(sign * cart_tax),
        "rate_percent": float(shop.tax_rate * 100),
        "shipping_tax_total": text(sign * of.shipping_tax), "meta_data": [],
    }  # fmt: skip
    return {"tax_lines": [tax] if shop.tax_rate else [], "shipping_lines": shipping, "fee_lines": fee}


def order_record(order: Order, version: Version) -> Record:
    """One element of GET /wc/v3/orders: the order as one of its versions has it."""
    shop, basket, who = order.shop, version.basket, order.person
    items = [_item(shop, order.id * 16 + n, line, number(line.total, line.quantity), []) for n, line in enumerate(basket.lines)]
    coupons: list[Record] = [
        {"id": order.id * 16 + 8, "code": coupon.code, "discount": text(basket.discount),
         "discount_tax": text(basket.discount_tax), "discount_type": coupon.kind,
         "nominal_amount": number(coupon.value, 1), "free_shipping": False, "meta_data": []}
        for coupon in [basket.coupon] if coupon
    ]  # fmt: skip
    meta = [
        {"id": order.id * 16 + n, "key": f"_wc_order_attribution_{key}", "value": value}
        for n, (key, value) in enumerate(zip(("source_type", "utm_source"), order.origin, strict=True))
    ]
    return {
        "id": order.id, "parent_id": 0, "number": str(order.id), "order_key": f"wc_order_{order.token}",
        "created_via": order.via, "version": "10.2.1", "status": version.status, "currency": shop.currency,
        "currency_symbol": place(shop).symbol,
        **times(shop, "date_created", order.created), **times(shop, "date_modified", version.modified),
        "discount_total": text(basket.discount), "discount_tax": text(basket.discount_tax),
        "shipping_total": text(basket.shipping), "shipping_tax": text(basket.shipping_tax),
        "cart_tax": text(basket.cart_tax), "total": text(basket.total),
        "total_tax": text(basket.cart_tax + basket.shipping_tax), "prices_include_tax": False,
        "customer_id": order.customer_id, "customer_ip_address": f"192.0.2.{order.id % 254 + 1}",
        "customer_user_agent": "", "customer_note": "",
        "billing": {**address(shop, who), "email": order.email, "phone": who.phone},
        "shipping": address(shop, who),
        "payment_method": order.payment[0], "payment_method_title": order.payment[1],
        "transaction_id": f"tx_{order.token}" if version.paid else "",
        **times(shop, "date_paid", version.paid), **times(shop, "date_completed", version.completed),
        "cart_hash": "", "meta_data": meta, "line_items": items,
        **_extra_lines(shop, order.id, basket, 1, is_free=True), "coupon_lines": coupons,
        "refunds": [{"id": refund.id, "reason": refund.reason, "total": text(-refund.amount)}
                    for refund in version.refunds],
        "_links": links(shop, "orders", order.id),
    }  # fmt: skip


def refund_record(order: Order, version: Version) -> Record:
    """One element of GET /wc/v3/refunds: the refund that made this version.

    `amount` is positive; quantities and money of its lines are negative.
    """
    shop, refund = order.shop, version.refunds[-1]
    items = []
    for n, quantity, total, tax in refund.lines:
        line = Line(version.basket.lines[n].product, -quantity, -total, -total, -tax, -tax)
        refunded = {"id": refund.id * 16 + n, "key": "_refunded_item_id", "value": str(order.id * 16 + n)}
        items.append(_item(shop, refund.id * 16 + n, line, number(-total, quantity), [refunded]))
    return {
        "id": refund.id, "parent_id": order.id, **times(shop, "date_created", refund.at),
        "amount": text(refund.amount), "reason": refund.reason, "refunded_by": 1, "refunded_payment": True,
        "meta_data": [], "line_items": items, **_extra_lines(shop, refund.id, refund, -1, is_free=False),
        "_links": {**links(shop, "refunds", refund.id), "up": links(shop, "orders", order.id)["self"]},
    }  # fmt: skip


def customer_record(order: Order) -> Record:
    """One element of GET /wc/v3/customers, as it is after the order with which the customer registered."""
    shop, who, first = order.shop, order.person, order.versions[0]
    return {
        "id": order.customer_id, **times(shop, "date_created", order.created),
        **times(shop, "date_modified", first.paid or order.created),
        "email": who.email, "first_name": who.first_name, "last_name": who.last_name, "role": "customer",
        "username": who.email.partition("@")[0],
        "billing": {**address(shop, who), "email": who.email, "phone": who.phone},
        "shipping": address(shop, who),
        "is_paying_customer": first.paid is not None, "avatar_url": "", "meta_data": [],
        "_links": links(shop, "customers", order.customer_id),
    }  # fmt: skip
