"""Sample shops as WooCommerce REST v3 response pages: seeded, so the same everywhere and every time.

Grain: a record of `order_pages` is one version of an order, in the page of the shop's local day on which that
version came about (its `date_modified`); of `refund_pages` one refund, in the page of the day it was made; of
`customer_pages` one customer, in the page of the day of registration. A page holds 1 to `PAGE_SIZE` records,
ascending by id, and never records of two days; a day without records has no page. An order that changes
later (3 % are cancelled, completed or edited within 3 days, 5 % are refunded within 10) is repeated on that
day, whole.

Units: money is a string in the shop's currency with two decimals ("12.30"), `price` a JSON number; prices
exclude tax. `date_*` is the store's wall clock, `date_*_gmt` the same instant in UTC, both without offset.

Ranges: first and last day are both included. A range extended at its end begins with the same pages. A later
version or a refund is given only when its order was placed within the range, so extending the range at its
start may add records to days it already had (and customers who registered before it are not listed).
"""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

from analytics_assets.sandbox.shop_orders import LOOK_BACK, Order, Version, orders_born
from analytics_assets.sandbox.shop_records import Record, customer_record, order_record, refund_record
from analytics_assets.sandbox.shop_world import OPENING, SAMPLE_SHOPS, Shop

__all__ = ["PAGE_SIZE", "SAMPLE_SHOPS", "Shop", "customer_pages", "order_pages", "refund_pages", "write_shop"]

PAGE_SIZE = 100
Page = list[Record]


def order_pages(shop: Shop, first_day: date, last_day: date) -> Iterator[Page]:
    """Pages of GET /wc/v3/orders, day by day; an order occurs once per local day on which it changed."""
    return (page for day in _days(first_day, last_day) for page in _paged(_orders(shop, first_day, day)))


def refund_pages(shop: Shop, first_day: date, last_day: date) -> Iterator[Page]:
    """Pages of GET /wc/v3/refunds, day by day."""
    return (page for day in _days(first_day, last_day) for page in _paged(_refunds(shop, first_day, day)))


def customer_pages(shop: Shop, first_day: date, last_day: date) -> Iterator[Page]:
    """Pages of GET /wc/v3/customers, day by day of registration, which is at the customer's first order."""
    return (page for day in _days(first_day, last_day) for page in _paged(_customers(shop, first_day, day)))


def write_shop(shop: Shop, first_day: date, last_day: date, folder: Path) -> dict[str, Path]:
    """Writes orders, refunds and customers as `<stream>.jsonl.gz`, one page a line; gives the paths by name.

    A file appears under its name only when it is whole. The lines are the same on every machine; the
    compressed bytes too, as far as the machines' zlib is the same.
    """
    streams = {"orders": _orders, "refunds": _refunds, "customers": _customers}
    days = _days(first_day, last_day)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl.gz" for name in streams}
    partial = {name: folder / f".{name}.jsonl.gz.{os.getpid()}.partial" for name in streams}
    try:
        with ExitStack() as stack:
            files = {}
            for name, path in partial.items():
                raw = stack.enter_context(path.open("wb"))
                files[name] = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
            for day in days:
                for name, records in streams.items():
                    for page in _paged(records(shop, first_day, day)):
                        files[name].write(json.dumps(page, separators=(",", ":")).encode("ascii") + b"\n")
        for name, path in paths.items():
            partial[name].replace(path)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return paths


def _days(first_day: date, last_day: date) -> list[date]:
    if first_day < OPENING or last_day < first_day:
        raise ValueError(f"a range is from {OPENING} on and has a day, not {first_day} to {last_day}")
    return [first_day + timedelta(days=n) for n in range((last_day - first_day).days + 1)]


def _paged(records: list[Record]) -> Iterator[Page]:
    for start in range(0, len(records), PAGE_SIZE):
        yield records[start : start + PAGE_SIZE]


def _versions_of(shop: Shop, first_day: date, day: date) -> Iterator[tuple[Order, Version]]:
    """The order versions of a day, by order id: of orders from `first_day` on, at most LOOK_BACK days old."""
    for born in _days(max(first_day, day - timedelta(days=LOOK_BACK)), day):
        for order in orders_born(shop, born):
            for version in order.versions:
                if version.day == day:
                    yield order, version


def _orders(shop: Shop, first_day: date, day: date) -> list[Record]:
    return [order_record(order, version) for order, version in _versions_of(shop, first_day, day)]


def _refunds(shop: Shop, first_day: date, day: date) -> list[Record]:
    versions = _versions_of(shop, first_day, day)
    records = [refund_record(order, version) for order, version in versions if version.refunds]
    return sorted(records, key=lambda record: int(record["id"]))


def _customers(shop: Shop, first_day: date, day: date) -> list[Record]:
    records = [customer_record(order) for order in orders_born(shop, day) if order.joins]
    return sorted(records, key=lambda record: int(record["id"]))
