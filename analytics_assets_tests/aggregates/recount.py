"""Hours and days counted from the records by a route of its own: pandas, Decimal and zoneinfo."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

UNCOUNTED = ("pending", "failed", "cancelled", "trash", "checkout-draft")
SUMS = (
    "orders",
    "items_sold",
    "gross_sales",
    "discounts",
    "shipping_revenue",
    "taxes",
    "refunds_amount",
    "refunds_count",
    "net_sales",
    "total_sales",
    "customers_new",
)


def start_of_local_hour(at: datetime, zone: ZoneInfo) -> datetime:
    """Back from the moment, minute by minute, as long as the clock on the wall shows the same hour of the same day."""

    def face(moment: datetime) -> tuple[Any, ...]:
        local = moment.astimezone(zone)
        return local.date(), local.hour, local.utcoffset()

    start = at.replace(second=0, microsecond=0)
    while face(start - timedelta(minutes=1)) == face(at):
        start -= timedelta(minutes=1)
    return start


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _happenings(orders: list[dict[str, Any]], refunds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counted = [o for o in orders if o["status"] not in UNCOUNTED]
    dropped = {o["id"] for o in orders} - {o["id"] for o in counted}
    newcomers: dict[int, int] = {}
    for o in sorted(counted, key=lambda o: (o["date_paid_gmt"] or o["date_created_gmt"], o["id"])):
        newcomers.setdefault(o["customer_id"], o["id"])
    rows: list[dict[str, Any]] = []
    for o in counted:
        total, tax, shipping, discount = (Decimal(o[name]) for name in ("total", "total_tax", "shipping_total", "discount_total"))
        rows.append(
            {
                "at": _utc(o["date_paid_gmt"] or o["date_created_gmt"]),
                "customer": o["customer_id"] or None,
                "orders": 1,
                "items_sold": sum(line["quantity"] for line in o["line_items"]),
                "gross_sales": total - tax - shipping + discount,
                "discounts": discount,
                "shipping_revenue": shipping,
                "taxes": tax,
                "net_sales": total - tax - shipping,
                "total_sales": total,
                "customers_new": int(o["customer_id"] != 0 and newcomers[o["customer_id"]] == o["id"]),
            }
        )
    for r in refunds:
        if r["parent_id"] not in dropped:
            amount = Decimal(r["amount"])
            tax = sum((-Decimal(line["total_tax"]) for line in r["line_items"]), Decimal(0))
            shipping = sum((-Decimal(line["total"]) for line in r.get("shipping_lines", [])), Decimal(0))
            rows.append(
                {
                    "at": _utc(r["date_created_gmt"]),
                    "refunds_amount": amount,
                    "refunds_count": 1,
                    "taxes": -tax,
                    "shipping_revenue": -shipping,
                    "net_sales": -(amount - tax - shipping),
                    "total_sales": -amount,
                }
            )
    return rows


def recount(
    orders: list[dict[str, Any]], refunds: list[dict[str, Any]], store_zone: str, zone: str
) -> tuple[dict[tuple[str, datetime], Decimal], dict[tuple[str, Any], Decimal]]:
    """Metrics by hour of the store and by day of the organisation, without zeros. Customers by id only."""
    store, organization = ZoneInfo(store_zone), ZoneInfo(zone)
    frame = pd.DataFrame(_happenings(orders, refunds), columns=["at", "customer", *SUMS], dtype=object)
    starts = {at: start_of_local_hour(at, store) for at in set(frame["at"])}
    frame["hour"] = pd.Series([starts[at] for at in frame["at"]], dtype=object)
    frame["date"] = pd.Series([starts[at].astimezone(organization).date() for at in frame["at"]], dtype=object)

    def sums(key: str) -> dict[tuple[str, Any], Decimal]:
        return {
            (metric, period): value
            for period, group in frame.groupby(key)
            for metric in SUMS
            if (value := sum((Decimal(v) for v in group[metric].dropna()), Decimal(0))) != 0
        }

    days = sums("date")
    for date, customers in frame.dropna(subset=["customer"]).groupby("date")["customer"].nunique().items():
        days["customers_ordering", date] = Decimal(int(customers))
    return sums("hour"), days
